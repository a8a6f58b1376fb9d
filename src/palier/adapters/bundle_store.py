"""Bundles on the gateway's side: a packaged release is copied next to the others, checked, and never changed again."""

import shutil
from pathlib import Path

from palier.adapters.runtime import read_manifest, verify_bundle
from palier.domain.bundle import Manifest


def install_bundle(bundle: Path, releases: Path) -> tuple[Path, Manifest]:
    """Copy ``bundle`` to ``releases/<release id>`` (beside, verified, then renamed) and verify every file.

    A release that is installed already is only verified. Raises IntegrityError naming a changed file.
    """
    target = releases / read_manifest(bundle).release_id
    if not target.is_dir():
        releases.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(bundle, partial)
        verify_bundle(partial)  # a broken copy under the release's name would be in the way of a whole one
        partial.replace(target)
    return target, verify_bundle(target)
