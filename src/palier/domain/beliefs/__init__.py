"""What is believed of answers that were given without passages: from their words, and from how they agree.

    promise    P(a rung would be right | question), before it is asked
    score      P(its answer is right | question, that answer)
    belief     P(its answer is right | question, all answers seen so far)

`texts` says what can be seen in words, `chances` how a number becomes a chance, `believer` puts the levels together for
one question. How they are learnt stands in `palier.adapters.beliefs`.
"""
