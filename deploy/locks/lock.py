"""Versions and hashes of what a service runs, from a report of pip.

    pip install --dry-run --ignore-installed --quiet --report report.json .
    python deploy/locks/lock.py report.json > deploy/locks/cp311-linux-x86_64.txt

and on the machine of the service:

    pip install --require-hashes --only-binary :all: -r cp311-linux-x86_64.txt
    pip install --no-deps --no-index streamproc-*.whl

pip refuses a file whose hash is not here, and a dependency that is not here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

OWN = "streamproc"


def locked(report: dict[str, Any]) -> list[str]:
    """One requirement a package, by name. SystemExit for one without a hash."""
    found = {}
    for row in report["install"]:
        name, version = row["metadata"]["name"].lower(), row["metadata"]["version"]
        if name == OWN:
            continue
        sha256 = (
            row["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
        )
        if not sha256:
            sys.exit(f"{name} {version}: the registry gave no hash; use one that does")
        found[name] = f"{name}=={version} \\\n    --hash=sha256:{sha256}"
    return [found[name] for name in sorted(found)]


def main() -> None:
    report = json.loads(Path(sys.argv[1]).read_text())
    about = report["environment"]
    where = f"{about['implementation_name']} {about['python_version']}, "
    where += f"{about['sys_platform']}, {about['platform_machine']}"
    lines = [f"# By deploy/locks/lock.py with pip {report['pip_version']}: {where}"]
    sys.stdout.write("\n".join([*lines, *locked(report)]) + "\n")


if __name__ == "__main__":
    main()
