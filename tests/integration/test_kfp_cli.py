"""The way with nothing but the `kfp` command, as the documents describe it: for real, against the double of the API."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from services.kfp_api import kfp_api
from services.kfp_state import FINAL, KfpApi, Plan

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
TOKEN = "very-secret-token"


def documented() -> list[str]:
    """The commands that docs/submitting.md gives: what is done once, and what is done for every version."""
    text = (ROOT / "docs" / "submitting.md").read_text("utf-8")
    section = text.partition("## With the kfp command alone\n")[2].partition("\n## ")[0]
    return re.findall(r"^```bash\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)


def run(command: str, server: KfpApi, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run commands as continuous integration does, in a folder that holds the package."""
    shutil.copy(ROOT / "pipelines" / "compiled" / "larpo.yaml", folder)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KFP_")}
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    mine = {"PATH": path, "HOME": str(folder), "KFP_ENDPOINT": server.url, "KFP_EXISTING_TOKEN": TOKEN}
    shell = ["bash", "-euo", "pipefail", "-c", command.replace("sleep 30", "sleep 0")]
    return subprocess.run(shell, env=kept | mine, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def test_the_documented_commands_run_a_version_and_tell_whether_it_succeeded(tmp_path: Path) -> None:
    exports, once, version = documented()
    assert set(re.findall(r"(KFP_\w+)=", exports)) == {"KFP_ENDPOINT", "KFP_EXISTING_TOKEN", "KFP_NAMESPACE"}
    with kfp_api(token=TOKEN) as server:
        server.plan = Plan(["RUNNING", "SUCCEEDED"])
        server.fail("GET .*/runs/", 503, "no upstream", after=1)  # one look at the run; it is looked at again
        done = run(once + version, server, tmp_path)
        assert done.returncode == 0, done.stderr
        (pipeline,) = server.pipelines.values()
        made = {one["name"]: one for one in server.versions.values()}
        assert set(made) == {"larpo", "0123abc"}
        assert set(made["0123abc"]["pipeline_spec"]) == {"pipeline_spec", "platform_spec"}
        (one,) = server.runs.values()
        assert one["pipeline_version_reference"] == {
            "pipeline_id": pipeline["pipeline_id"], "pipeline_version_id": made["0123abc"]["pipeline_version_id"]
        }  # fmt: skip
        assert one["runtime_config"]["parameters"] == {
            "root": "s3://bucket/runs", "rounds": 3, "settings": '{"seed": 1}'
        }  # fmt: skip
        assert sorted(re.findall(r"[A-Z]{6,}", version.partition("until")[2].partition(";")[0])) == sorted(FINAL)
        server.plan = Plan(["CANCELED"])
        assert run(version.replace("0123abc", "other"), server, tmp_path).returncode == 1
        assert TOKEN not in done.stdout + done.stderr


def test_kfps_own_watch_does_not_tell(tmp_path: Path) -> None:
    """Why the documented commands look at the state. When this fails, `kfp run create --watch` will do."""
    command = "kfp run create --watch --experiment-name e --package-file larpo.yaml root=a"
    with kfp_api(token=TOKEN) as server:
        server.plan = Plan(["RUNNING", "FAILED"])
        done = run(command, server, tmp_path)
    assert "Run is finished with state FAILED." in done.stdout
    assert done.returncode == 0


def test_kfp_guesses_the_type_of_text(tmp_path: Path) -> None:
    """Why the documented commands quote it twice."""
    command = "kfp run create --experiment-name e --package-file larpo.yaml root=a 'settings={}'"
    with kfp_api(token=TOKEN) as server:
        done = run(command, server, tmp_path)
    assert done.returncode == 1
    assert "input parameter settings requires type STRING" in done.stderr
