"""The scripts that make the environments: what they detect, and when they have nothing to do."""

from __future__ import annotations

from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


@pytest.fixture
def venvs(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import venvs

    monkeypatch.delenv("TORCH", raising=False)
    return venvs


@pytest.fixture
def nvidia_smi(monkeypatch, tmp_path):
    """Puts a driver tool on PATH that answers as told."""

    def put(answer: str, status: int) -> None:
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\necho '{answer}'\nexit {status}\n")
        tool.chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return put


@pytest.mark.parametrize(
    ("answer", "status", "cpu"),
    [
        ("GPU 0: NVIDIA H100 (UUID: GPU-1)", 0, False),
        ("NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.", 9, True),
        ("No devices found", 0, True),
    ],
)
def test_torch_build_follows_the_gpu(venvs, nvidia_smi, answer, status, cpu):
    nvidia_smi(answer, status)
    assert venvs.wants_cpu_build() is cpu


def test_torch_build_can_be_chosen(venvs, nvidia_smi, monkeypatch):
    nvidia_smi("GPU 0: NVIDIA H100 (UUID: GPU-1)", 0)
    monkeypatch.setenv("TORCH", "cpu")
    assert venvs.wants_cpu_build() is True
    monkeypatch.setenv("TORCH", "rocm")
    with pytest.raises(venvs.SetupError, match="rocm"):
        venvs.wants_cpu_build()


def test_an_environment_from_empty_to_complete_and_stale(venvs, monkeypatch, tmp_path):
    monkeypatch.setattr(venvs, "ROOT", tmp_path)
    needs = tmp_path / "pyproject.toml"
    needs.write_text("dependencies = []")
    environment = venvs.Environment(".venv", [needs])
    assert not environment.is_complete()
    environment.create()
    assert not environment.is_complete(), "an empty environment must not count as complete"
    environment.mark_complete()
    assert environment.is_complete()
    needs.write_text("dependencies = ['torch']")
    assert not environment.is_complete()
    environment.create()
    assert environment.python.exists()
    # What pip says when it fails is passed on.
    with pytest.raises(venvs.SetupError, match=r"(?s)the missing wheel could not be installed.*no-such-file"):
        environment.install("the missing wheel", "--no-index", str(tmp_path / "no-such-file.whl"))


@pytest.fixture
def browser(monkeypatch, tmp_path):
    """The script on a machine that looks like a fresh Debian, for root: apt-get knows no package before an update."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import browser

    apt = tmp_path / "apt-get"
    apt.write_text(
        "#!/bin/sh\n"
        f'echo "$*" >> {tmp_path}/calls\n'
        'case "$*" in\n'
        f"  *update) touch {tmp_path}/lists;;\n"
        f"  *chromium) [ -e {tmp_path}/lists ] || {{ echo 'E: Unable to locate package'; exit 100; }}\n"
        f"    printf '#!/bin/sh' > {tmp_path}/chromium; /bin/chmod +x {tmp_path}/chromium;;\n"
        "esac\n"
    )
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("BROWSER", raising=False)
    monkeypatch.setattr(browser, "_is_debian", lambda: True)
    monkeypatch.setattr(browser.os, "geteuid", lambda: 0)
    # The script's shell has touch elsewhere.
    (tmp_path / "touch").symlink_to("/usr/bin/touch")
    return browser


def test_a_browser_is_installed_once(browser, tmp_path, capsys):
    assert browser.main() == 0
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[-1] for call in calls] == ["chromium", "update", "chromium"]
    assert "Chromium for the test" in capsys.readouterr().err
    assert browser.main() == 0
    assert (tmp_path / "calls").read_text().splitlines() == calls
    assert capsys.readouterr().err == ""


def test_a_browser_that_cannot_be_had_stops_nothing(browser, tmp_path, capsys):
    (tmp_path / "touch").unlink()
    assert browser.main() == 0
    assert "will be skipped (" in capsys.readouterr().err


@pytest.mark.parametrize("reason", ["asked not to", "no root", "not Debian"])
def test_no_browser_is_installed_where_it_is_not_wanted(browser, tmp_path, monkeypatch, reason):
    if reason == "asked not to":
        monkeypatch.setenv("BROWSER", "no")
    elif reason == "no root":
        monkeypatch.setattr(browser.os, "geteuid", lambda: 1000)
    else:
        monkeypatch.setattr(browser, "_is_debian", lambda: False)
    assert browser.main() == 0
    assert not (tmp_path / "calls").exists()
