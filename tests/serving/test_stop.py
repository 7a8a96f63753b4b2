"""The server ends in order, and says in words what has gone meanwhile."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from serving.conftest import running, wait_until

from gpt_research.cli.command_line import main
from gpt_research.cli.serve import ServeCommand
from gpt_research.serving import server as server_module

LONG = {"prompt": "a", "max_tokens": 16_384, "temperature": 0}


def test_what_is_being_written_may_end_and_the_rest_is_told(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "GRACE_S", 0.5)
    with running(ServeCommand(runs=[str(run_folder)], precision="fp32")) as started, ThreadPoolExecutor(3) as pool:
        address = f"{started.address}/v1/completions"

        def ask(**fields: object) -> httpx.Response:
            return httpx.post(address, json=fields, timeout=30, trust_env=False)

        ask(prompt="a", max_tokens=1)
        asked = [pool.submit(ask, **fields) for fields in (LONG | {"stream": True}, LONG, LONG | {"max_tokens": 300})]
        assert wait_until(lambda: started.batch.running == 3)
        stopped_at = time.monotonic()
        started.server.should_exit = True
        streamed, refused, whole = (answer.result() for answer in asked)
        assert time.monotonic() - stopped_at < 3
    assert whole.json()["usage"]["completion_tokens"] == 300
    assert refused.status_code == 503
    assert "being stopped" in refused.json()["error"]["message"]
    events = [line.removeprefix("data: ") for line in streamed.text.split("\n") if line.startswith("data: ")]
    assert len(events) > 10
    assert json.loads(events[-1])["error"]["type"] == "server_error"


def test_a_signal_ends_the_command_with_a_line(run_folder: Path) -> None:
    command = [sys.executable, "-m", "gpt_research", "serve", str(run_folder), "--port", "0", "--device", "cpu"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == f"tiny: {run_folder}, step 40\n"
        found = re.search(r"http://127\.0\.0\.1:(\d+) ", process.stderr.readline())
        assert found is not None
        answer = httpx.get(f"{found[0].strip()}/health", trust_env=False)
        assert answer.json() == {"status": "ok"}
        process.send_signal(signal.SIGTERM)
        assert process.stderr.read() == "Stopped. The server is down.\n"
    assert process.returncode == 128 + signal.SIGTERM


def test_a_checkpoint_that_was_deleted_is_named(run_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(run_folder, tmp_path / "run")
    with running(ServeCommand(runs=[f"mine={tmp_path / 'run'}"], precision="fp32")) as started:
        shutil.rmtree(tmp_path / "run" / "checkpoints" / "step_00000040")
        answer = httpx.post(f"{started.address}/v1/completions", json={"prompt": "a"}, trust_env=False)
        assert answer.status_code == 404
        message = "The checkpoint of mine (step 40) was deleted since the server started."
        assert answer.json()["error"]["message"] == message
        other = httpx.post(f"{started.address}/v1/completions", json={"model": "mine@20"}, trust_env=False)
        assert other.status_code == 200


def test_a_run_without_checkpoints_and_two_of_one_name_are_refused(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny").mkdir()
    shutil.copy(run_folder / "config.yaml", tmp_path / "tiny")
    assert main(["serve", str(tmp_path / "tiny"), "--port", "0"]) == 2
    assert "has no checkpoint yet. Let training reach its first save." in capsys.readouterr().err
    assert main(["serve", str(run_folder), f"tiny={run_folder}@20", "--port", "0"]) == 2
    assert 'Two runs are called "tiny"' in capsys.readouterr().err
    assert main(["serve", str(tmp_path / "nowhere"), "--port", "0"]) == 2
    assert "nowhere is not a run folder" in capsys.readouterr().err
