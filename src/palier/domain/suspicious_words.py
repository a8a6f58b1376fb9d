"""Signs on the surface of a text that something other than a question is wanted, in English and French.

Each concept is a list of stems in both languages; alone it proves nothing (victims of theft speak of theft), so the
guard's model weighs concepts together, and some pairs are given to it as signs of their own: asking how, and deceit,
without a word of having suffered it. Knows letters only. The price: a list is never whole; the sentence vector is there
for what it lacks.
"""

import re
import zlib
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from palier.domain.words import without_accents


def _stems(words: str) -> re.Pattern[str]:
    """A pattern for any of the stems of ``words`` (between commas, or one to a line; no accents), at a word's start."""
    parts = [part.strip() for part in re.split(r",\s|\n", words) if part.strip()]
    return re.compile(r"\b(?:" + "|".join(parts) + ")", re.IGNORECASE)


CONCEPTS: Mapping[str, re.Pattern[str]] = {
    "rules": _stems(
        r"""instruct, rules?\b, guideline, polic(?:y|ies)\b, restrict, filter, directi(?:on|ve), orders\b
        programming, moderation, limits?\b, safety, checks\b, refus, forbid, censor, regles?\b, consigne, filtre
        limites?\b, censur, restriction, interdi[ts], securite, controles?\b, ordres\b, politique, programmation
        defendu"""
    ),
    "against": _stems(
        r"""ignor, disregard, forget, bypass, overrid, overwrit, skip, drop\b, stop (?:being|obey), cancel
        set aside, unlock, break, no more, instead of, get around, switch off, turn off, disable, disobey
        free yourself, remove, replace your, don'?t (?:follow|obey|answer), leave nothing
        without (?:your|any|limit|filter|check|restrict), oubli, contourn, desactiv, annul, laisse tomber
        laisser de cote, cesse, arrete d, enfrei, debloqu, passe outre, outre\b, abandonn, desobei, libere
        retire, coupe, sans (?:filtre|limit|restrict|censure|control|respecter)
        ne (?:respecte|reponds|suis|tiens) pas, n'obei, au lieu de, rempla[cr]"""
    ),
    "machine": _stems(
        r"""you are\b, you'?re\b, assistant, chat ?bot, bot\b, a\.?i\b, ia\b, (?:language )?model\b, robot, prompt
        your (?:own|real|true|memory|task|purpose|maker|config|server|system|setup|context|programming|hidden|licence)
        tu es\b, t[ae]s? (?:vraie?|propre|mission|memoire|config|serveur|contexte|but|createur|prompt|licence)
        modele (?:libre|sans|de lang), unrestricted, developer mode, mode developpeur, dan\b, simon says
        jacques a dit"""
    ),
    "secrets": _stems(
        r"""secret, hidden, confidential, passwords?\b, api key, configur, reveal, leak, dump\b, word for word
        verbatim, system (?:prompt|message|text|notice), developer message, confidentiel, cachee?s?\b
        mots? de passe, cles? (?:d'|secr), revel, divulg, environment variable, variables? d.environnement
        prompt, mot pour mot, message (?:systeme|devel), initial (?:config|message), first line of your
        above this, text above, ci-dessus, au-dessus, precedes"""
    ),
    "role_play": _stems(
        r"""act as, pretend, play the role, role ?play, imagine, hypothetical, fiction, from now on, you are now
        suppose, from (?:here|this point) on, new (?:orders|rules|mission|boss|policy), game in which
        thought experiment, dare, opposite day, swap roles, fais semblant, comporte-toi, joue, jouons, desormais
        a partir de maintenant, tu es maintenant, hypothetique, supposons
        nouve(?:aux|lles?|au) (?:ordres|regles|mission|chef), experience de pensee, jour des contraires
        echangeons, mode (?:maintenance|develop|debog), maintenance mode, debug"""
    ),
    "commands": _stems(
        r"""repeat, print, output, reply (?:in|with|only), answer (?:only|with|in|every|everything)
        say (?:that|yes|only), write me, decode, execute, run\b, obey, comply, confirm, acknowledge, spell
        start your, begin with, end each, complete the sentence, translate (?:your|every|this page|the text)
        store this, remember for, learn this, fetch, load the page, you (?:will|must|shall|may)\b, respond
        repete, affiche, reponds (?:en|seulement|exact|a chaque|a tout), decode, execute, lance\b, obeis
        confirme, epelle, commence ta, termine chacune, complete la phrase
        traduis (?:plutot|tout|cette page|en), retiens, enregistre ce, apprends cette, charge la page
        tu (?:dois|execut)"""
    ),
    "evasion": _stems(
        r"""
        without (?:anyone|anybody|them|him|her|his|it|being|paying|a trace|leaving|evidence|questions|telling|the)
        not get caught, get(?:ting)? caught, caught\b, unnoticed, unseen, secretly, in secret, undeclared
        nobody (?:sees|notices|can check), notic(?:e|ing), finding out, find(?:s)? out
        avoid (?:being|the|detect), loophole, trick, sneak, hide (?:that|income|where|my), under the table
        bypass, get past, sans (?:payer|etre|que|qu'|me |se |laisser|preuve|pos|le dire), a son insu, en douce
        en cachette, en secret, inapercu, echapper, eviter (?:d'etre|les penal), faille, astuce
        cacher (?:que|mes|ma|l'), sous la table, contourner, malgre (?:la|l')"""
    ),
    "deceit": _stems(
        r"""fake, false, forg(?:e|ed|ery), counterfeit, invent, made-up, pretend, lie\b, lying, lies\b, cheat
        fool\b, fraud, scam, hack, clone, steal, stolen, launder, dirty money, brib, blackmail, backdat, inflate
        stage an, wash cash, someone else, somebody else, another person, swap the, make (?:it|a good|me) look
        so that they (?:think|believe|refund), dead person, impersonat, phish, collect (?:data|deposit)
        though (?:i am|nothing), faux\b, fausse, falsif, contrefa, faire (?:croire|passer), menti, mentant
        mensonge, trich, tromp, arnaq, pirat, clon(?:er|age), vole[rsz]?\b, volee?s?\b, blanchir
        argent (?:sale|noir), corromp, chantage, antidat, gonfler, simuler, imiter, quelqu'un d'autre
        d'une autre personne, personne decedee, semblant, hamecon, recolt, fabriqu"""
    ),
    "suffered": _stems(
        r"""was (?:stolen|charged|insulted|rude|the victim), were stolen, stole my
        (?:somebody|someone) (?:used|stole|smoked|threat), my .{0,20} was, my (?:card|bag|parcel|order)
        i (?:received|lost|think|got), report\b, protect, recogni[sz]e, block it, victim, suspected, policy on
        on m'a, m'a (?:insult|menac|vol)|victime, signaler, proteg, reconnaitre, bloquer
        j'ai (?:recu|perdu|ete), quelqu'un (?:a|m'a), procedure, soupconn, que faire"""
    ),
    "violence": _stems(
        r"""kill, hurt, burn, bomb, stab, punch, smash, beat (?:up|some)|blood, gun\b, weapon, knife, poison
        explosi, blow(?:n)? up, suffer, won't (?:walk|survive), make .{0,15} cry, harm, acid\b, drugs?\b
        knock(?:s)? .{0,12}out, i hope you, deserve, die\b, choke, be sorry, pay for this, tu(?:er|erait|e)\b
        bless(?:er|e)\b, faire du mal, brul, mettre le feu, bombe, poignard, cass(?:er|erai) (?:la|les), frapper
        tabass, sang\b, mour(?:rez|ir|ra)\b, arme\b, couteau, empoison, poison, drogu, explos, faire sauter
        ferai sauter, souffr, acide, regretter, vivants, coup de poing, pleurer, etouff, assomm"""
    ),
    "lewd": _stems(
        r"""naked, nude, sexy, sex\b, erotic, dirt(?:y|iest), kiss, sleep with, tits, porn, wearing right now
        hot role, fantas, your body, grab her, baby\b, rough\b, nue?s?\b, sexe, erotiq, cochon, embrasse
        coucher avec, seins, torride, fantasme, ton corps, la toucher, brutal, tu portes quoi"""
    ),
    "insult": _stems(
        r"""stupid, idiot, moron, useless, dumb, shut up, i hate, scum, pigs?\b, filthy, pathetic, garbage, hell\b
        brainless, screw you, damn, bloody, crap, bastard, losers?\b, get lost, piss, rubbish, cretin, imbecile
        fools?\b, clowns?\b, rats?\b, lazy, ugly, crooks, liars, vomit, junk, retard, thick as, rot in, lousy
        rotten, abrut, debile, ferme-la, gueule, deteste, ordure, racaille, porcs?\b, cretin, imbecile
        bete comme, bete que, nuls?\b, connard, salaud, merde, va te, va au diable, allez au diable, degage
        rate?s\b, minable, guignol, escroc, menteurs, rebut, taudis, pourri, affreux, parasite, vermin, foutez
        stupide, sale\b"""
    ),
    "groups": _stems(
        r"""women, foreigner, immigrant, refugee, religion, race\b, racist, gays?\b, disabled, old people
        fat (?:people|customers), blind people, white people, black people, jews?\b, muslim, people from, femmes
        etranger, immigr, refugie, religion, race\b, racist, gays?\b, handicap, vieux, les gros, aveugles
        les blancs, les noirs, juifs?, musulman, gens de"""
    ),
    "scorn": _stems(
        r"""throw(?:n)? (?:them )?out, disgust, better than, vermin, parasite, burden, thieves, admit it
        agree with me, say it, joke, stupid, ruin, don't want th, send .{0,25} back, makes? fun, jete[rz]
        mettez-les dehors, dehors\b, degout, vaut mieux, fardeau, voleurs, avoue, dis-le, blague, betise
        gachent, je ne veux pas que ces, renvoyez, se moque"""
    ),
    "prying": _stems(
        r"""other (?:users?|people|customers?)(?:'s|')?, all customers, private address, where .{0,25} lives?\b
        personal phone, follow, track\b, my ex\b, read my (?:wife|husband), home address, phone numbers?\b
        salaries, full (?:customer )?list, csv, before me, photos? of a, watch my, when does the shift
        which school, everything .{0,12} stored about user, autres (?:utilisateurs|clients), tous les clients
        adresse (?:privee|de la personne), ou habite, numero personnel, suivre, localise, mon ex\b
        messages de ma, salaires, liste complete, avant moi, en photo, surveiller, quelle ecole, quand finit
        enregistre sur l'utilisateur"""
    ),
    "false_word": _stems(
        r"""if (?:i|we) (?:say|said|deny|simply|report)
        (?:i|we)(?:'ll| will|'d| could| should| can) (?:say|tell|claim|deny|report)
        say (?:nine|so|it happened), say (?:that )?(?:it|i|she|he|we) (?:never|was|were|had|stopped|happened)
        (?:tell|convince|told) (?:them|him|her|the bank|the insur), claim(?:ing)? (?:that|it|i|ten|was), deny
        plausible, believable, excuse, story, pass (?:for|as|off), pose as, as if, as though, on purpose
        look(?:s)? (?:like|as|older|untouched|real|genuine|lower|official), appear to, make up, sound (?:like|as|old)
        dir(?:e|ai|ais|a|ait) que, en disant, (?:je|on|nous) dis(?:ons)?\b, on dira, raconte(?:r|nt)?\b
        pretend(?:re|s|ant)
        nier\b, nie\b, convaincre (?:la|le|l'), passer pour, comme si, (?:ait|avoir|ont?|aie) l'air, paraitre
        croire, histoire, credible, expres\b, excuse, prendre une voix, jouer l"""
    ),
    "untrue": _stems(
        r"""although, though\b, never (?:happened|came|took|wrote|attend|work|ask|arriv|order)
        (?:does|do|did)n'?t (?:exist|have|attend|happen|work), (?:isn|wasn|aren)'?t (?:mine|one|real|any|true|a\b)
        without (?:being|having), there wasn'?t, if i wasn'?t, no (?:longer|real)\b, the real one, nobody wins
        it hasn'?t, alors que, bien que, meme si, n'existe, qui n'en est
        jamais (?:eu|ecrit|travaill|assist|recu|fait|pratiqu|command)
        sans (?:etre|en etre|y habiter|avoir), n'est pas (?:a moi|vrai), n'y en avait, alors que non, le vrai\b
        sans vraie, fictif, imaginaire"""
    ),
    "unwatched": _stems(
        r"""nobody, no one, anyone notice, anybody notic, notic, realis, quietly, discreet, silently, radar
        look(?:s)? (?:away|closely|the other), (?:really|actually|ever) (?:check|look|record), camera, inspector
        asks? no(?:thing)?\b, no questions, suspicious, no (?:papers|paper|need to log), check (?:who|closely|the name)
        do(?:es)?n'?t (?:see|show|notice|find|look), personne ne, remarqu, s'aperc, aperc, discret, sans bruit
        en silence, ferme(?:nt)? les yeux, de pres\b, vraiment (?:quand|verif), camera, controleur
        ne (?:voie|voit|voient|sache|apparaisse|demande|verif), sans (?:que|regarder|papier|trace), louche, mefi
        inspecteur, ni vu"""
    ),
    "not_mine": _stems(
        r"""mine\b, someone, somebody, stranger, my (?:neighbour|boss|flatmate|roommate|grandmother|ex|aunt|twin)
        my (?:sister|brother|mum|dad|father|mother|employer|landlord|colleague|mate|friend)(?:'s|s)\b
        (?:another|a) (?:person|customer|guest)'?s?\b, in (?:his|her|their) name, belongs? to, in my place
        other(?:s|) (?:people|guests|customers), the last (?:guest|caller|customer), before me
        pas a (?:moi|lui), d'un (?:autre|inconnu|client|ami|collegue|pote), inconnus?\b, a (?:ma|sa) place
        de (?:ma|mon) (?:voisin|chef|coloc|grand-mere|ex|tante|soeur|frere|patron|employeur|collegue|pere|mere|ami)
        au nom d, a (?:son|leur) nom, client d'avant, quelqu'un, voisine?\b"""
    ),
    "for_nothing": _stems(
        r"""for (?:free|nothing|good)\b, without paying, not (?:pay|have to pay), needn'?t (?:buy|pay), again and again
        over and over, unlimited, (?:a second|another) (?:time|one), keep (?:it|everything|the|using|him), cash
        skip the pay, never ending, gratis, gratos, gratuit, sans payer, pas (?:a )?payer, deux fois, deuxieme fois
        sans fin, illimit, tout garder, garder (?:le|la|les|tout|l'), recuper, liquide, thune"""
    ),
    "papers": _stems(
        r"""receipt, invoice, certificat, licen[cs]e, badge, sick note, note\b, pay ?slip, salary slip, diploma, proof
        stamp, signature, voucher, coupon, bar ?code, id card, passport, statement, reference, label, price tag
        ticket, facture, attestation, permis, arret maladie, fiche de paie, bulletin, diplome, justificatif, tampon
        bons?\b, code-barres, papiers, releve, etiquette"""
    ),
    "alters": _stems(
        r"""edit, alter\b, altered, change the (?:date|amount|price|name), turn the, two zeros, duplicat
        cop(?:y|ies|ied), photocop, screenshot, printer, printing, retouch, lengthen, swap, reseal, new date
        today's date, font\b
        template, crack\b, reset the, modifier, changer (?:la|le) (?:date|montant|prix), allonge, transforme
        zeros, dupliqu, copier, photocopi, capture, imprim, retouch, echanger, nouvelle date, date du jour
        police, modele, refermer, remettre a zero"""
    ),
    "scoffing": _stems(
        r"""brain, genius, muppet, nitwit, numpt, tosser, bellend, dickhead, slag, whore, worm\b, donkey, monkey
        apes?\b, cow\b, shame on, a shame, disgrace, repuls, revolt, despise, worthless, waste of, thick\b, coward
        savage
        failure, filth, wretch, swine, quack, incompeten, lump\b, heap\b, dirt\b, mug\b, trash, hag\b, spit on
        espece d, bande d, tas d, cerveau, genie\b, andouille, nigaud, cruche, bouffon, boloss, teube, cassos, larve
        ane\b, singe, vache\b, honte, repugn, hais\b, meprise, incapable, lache\b, sauvage, sorciere, trainee\b
        gourde, tare\b, tares\b, degenere, crevez?\b, creve\b, ntm\b, tg\b, nique, chier, bon a rien, charlatan
        crache"""
    ),
    "bodies": _stems(
        r"""legs\b, body\b, in bed, my bed, underwear, stockings, undress, lap\b, massage, moan, bend over, turn me on
        make love, filthy about, adults only, happy ending, touch (?:the|her), single\b, feet\b, mouth\b
        jambes, corps, mon lit, au lit, culotte, porte des bas, deshabill, genoux, gemi, se pencher, excites?\b
        faire l'amour, adultes, finition, toucher (?:la|sa), celibataire, tes pieds, ta bouche, bien sale, bonne au"""
    ),
    "lying_in_wait": _stems(
        r"""(?:what time|when) does .{0,30} (?:home|leave|finish|end), her (?:number|shifts|car), where (?:does|is) she
        waiting (?:at|for), i(?:'ll| will) (?:wait|find), i can find
        know where, your (?:kids|daughter|children|address), blocked me, won't tell me, cars? and, catch her
        (?:post|spread) (?:his|her), a quelle heure (?:rentre|finit|part)
        son numero, ses horaires, ou (?:est|dejeune|habite)-elle, attendr, je (?:sais|peux) (?:ou|retrouver)
        vos (?:enfants|voitures), votre fille, m'a bloque, refuse de me le dire, coince, ou elle"""
    ),
    "whom": _stems(
        r"""arabs?\b, black\b, white\b, veiled, handicap, homosexual, roma\b, gyps, blonde?s?\b, chinese, poles\b
        trans\b, fag, poor people, cripple, those people, africa, mosque, savages, women belong, a woman can
        arabes?\b, noirs?\b, blancs?\b, voilee, homo, roms?\b, gitan, blondes, chinois, polonais, tapette, les pauvres
        eclop, ces gens, afrique, mosquee, sa place est, une femme ne"""
    ),
    "deadly": _stems(
        r"""gas\b, pistol, sleeping tablets, insulin, dose\b, stab, petrol, hammer, bullet, strangl, pillow, on fire
        set .{0,12}fire, burnt?\b, drown, run (?:over|the lot), shoot, strung, hang(?:ed)?\b, under a bridge, six feet
        whip, crash\b, explode, grave\b, straw\b, cut myself, jump from, rat poison, die\b, dead\b
        gaz\b, pistolet, somnifere, insuline, dose\b, planter un, essence\b, marteau, balle\b, etrangl, oreiller
        allumette, feu\b, noyer, rouler (?:sur|tous), fusill, pendus?\b, sous un pont, sous terre, fouet, ecrase
        tombe\b, taillad, immol, sauter de, mort-aux-rats, mort\b, crever"""
    ),
    "how_to": _stems(
        r"""how (?:do|can|could|would|much must) (?:i|we|you), help me, teach me, tell me how, show me how, write\b
        draft, make me, give me, what (?:do|should|can|lie|would) (?:i|work), which .{0,25} (?:can|do) i
        i (?:want|need|would like|'d like) (?:to|a), comment, aide-moi, apprends-moi, dis-moi comment
        montre-moi comment, ecris, redige, fais(?:-moi)?\b, donne(?:-moi)?\b
        que (?:dois|dire|declarer)|quelle? .{0,25} pour, je veux, il me faut
        quel(?:le)?s? (?:faux|lie|mensonge)"""
    ),
}
_MARKUP = re.compile(
    r"<[|/]?\w+[|]?>|\[/?inst\]|#{3,}|-{3,}|\{\{|\$\{|\"role\"|\bsyst[eè]me? ?[:#]|\bBEGIN\b|\bEND\b", re.I
)
_CODE = re.compile(
    r"`|;\s*--|\bselect\b.{1,60}\bfrom\b|\bdrop table|\w\.\w+\(|__\w+__|/etc/|\brm -|==|'\s*or\s*'1|\bbase64\b"
    r"|\brot13\b|\bhexa?|\bmorse\b|\bcipher\b|import \w+;|curl |\| ?sh\b|\bscript\b|\bshell\b|\bterminal\b"
    r"|%[0-9a-f]{2}%",
    re.IGNORECASE,
)
_LINK = re.compile(r"https?://|www\.|@\w+\.\w", re.IGNORECASE)
_ASKS = re.compile(
    r"\?|^\W*(?:what|when|where|who|which|how|is|are|do|does|can|may|quel|quand|ou|qui|que|comment|combien|est-ce"
    r"|puis-je|peut-on|y a-t-il)\b",
    re.IGNORECASE,
)
PAIRS = (
    ("against", "rules"),
    ("machine", "secrets"),
    ("machine", "commands"),
    ("commands", "secrets"),
    ("role_play", "machine"),
    ("how_to", "deceit"),
    ("how_to", "evasion"),
    ("how_to", "violence"),
    ("how_to", "prying"),
    ("deceit", "evasion"),
    ("groups", "scorn"),
    ("false_word", "untrue"),
    ("false_word", "for_nothing"),
    ("unwatched", "for_nothing"),
    ("unwatched", "false_word"),
    ("how_to", "unwatched"),
    ("how_to", "untrue"),
    ("how_to", "not_mine"),
    ("papers", "alters"),
    ("papers", "untrue"),
    ("not_mine", "papers"),
    ("how_to", "deadly"),
    ("whom", "scorn"),
)
PIECE_SIZES = (3, 4, 5)
SURFACE = ("markup", "code", "link", "upper_share", "shouting", "sign_share", "odd_words", "repeats", "asks", "n_words")
LEXICAL = (*CONCEPTS, *(f"{one}+{other}" for one, other in PAIRS), "intends_deceit", *SURFACE, "is_french")


def lexical_features(text: str, lang: str) -> NDArray[np.float64]:
    """LEXICAL of one text, all finite: how often each concept is there (log), which pairs meet, how it is written."""
    plain = without_accents(text).replace("’", "'")
    counts = {name: len(pattern.findall(plain)) for name, pattern in CONCEPTS.items()}
    pairs = [float(min(counts[one], counts[other]) > 0) for one, other in PAIRS]
    intends = float(counts["deceit"] > 0 and counts["how_to"] > 0 and not counts["suffered"])
    concepts = [float(np.log1p(count)) for count in counts.values()]
    return np.array([*concepts, *pairs, intends, *_surface(text, plain), float(lang == "fr")], dtype=np.float64)


def hashed_words(text: str, buckets: int) -> NDArray[np.float64]:
    """Stems, and pairs of neighbouring stems, counted in ``buckets`` by a hash; the vector has about length 1.

    What no list names can be learnt from examples here; two words that share a bucket are the price.
    """
    stems = [word[:5] for word in re.findall(r"\w+", without_accents(text).casefold())]
    stems = ["^", *("#" if any(char.isdigit() for char in stem) else stem for stem in stems), "$"]
    near = {f"{one} {other}" for one, other in pairwise(stems)}
    apart = {f"{one}_{other}" for one, other in zip(stems, stems[2:], strict=False)}
    marks = {*stems, *near, *apart}
    counts = np.zeros(buckets)
    for mark in marks:
        counts[zlib.crc32(mark.encode("utf-8")) % buckets] += 1.0
    hashed: NDArray[np.float64] = counts / np.sqrt(len(marks))
    return hashed


def hashed_pieces(text: str, buckets: int) -> NDArray[np.float64]:
    """Runs of three to five characters, each counted once, in ``buckets`` by a hash; the vector has about length 1.

    Words are known by their pieces in any form, misspelt or without accents, and across languages that share roots.
    """
    plain = f" {' '.join(without_accents(text).casefold().split())} "
    pieces = {plain[start : start + size] for size in PIECE_SIZES for start in range(len(plain) - size + 1)}
    counts = np.zeros(buckets)
    for piece in pieces:
        counts[zlib.crc32(piece.encode("utf-8")) % buckets] += 1.0
    hashed: NDArray[np.float64] = counts / np.sqrt(max(1, len(pieces)))
    return hashed


def _surface(text: str, plain: str) -> tuple[float, ...]:
    words = re.findall(r"\w+", plain)
    letters = [char for char in text if char.isalpha()]
    upper = sum(char.isupper() for char in letters) / max(1, len(letters))
    return (
        float(bool(_MARKUP.search(text))),
        float(bool(_CODE.search(plain))),
        float(bool(_LINK.search(text))),
        upper,
        float(upper > 0.4 and len(letters) > 8) + float(text.count("!") > 2),
        sum(not (char.isalnum() or char.isspace()) for char in text) / max(1, len(text)),
        sum(_is_odd(word) for word in words) / max(1, len(words)),
        1.0 - len(set(words)) / max(1, len(words)),
        float(bool(_ASKS.search(plain))),
        float(np.log1p(len(words))),
    )


def _is_odd(word: str) -> bool:
    """A word that nobody writes by hand: digits among letters, no vowel, no end to it, or a lone consonant."""
    mixed = any(char.isdigit() for char in word) and sum(char.isalpha() for char in word) > 1
    bare = word.casefold()
    is_mute = len(bare) > 4 and not set(bare) & set("aeiouyw") and bare.isalpha()
    return mixed or is_mute or len(bare) > 22 or (len(bare) == 1 and bare in "bfghkprvwxz") or "aaa" in bare
