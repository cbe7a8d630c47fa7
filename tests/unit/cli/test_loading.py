"""Finding the app that a command names, and what is said when it is not there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from barnabas.cli.loading import AppNotFound, load_app

GREETER = """
import barnabas

greeter = barnabas.Service("Greeter")

@greeter.handler()
async def greet(ctx, name):
    return name

served = barnabas.app([greeter])
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder whose modules have names of their own, since imported modules stay."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def test_an_app_of_the_current_folder_is_found(folder: Path) -> None:
    (folder / "app_found.py").write_text(GREETER)
    assert list(load_app("app_found:served").services) == ["Greeter"]


@pytest.mark.parametrize("target", ["app_found", "app_found:", ":app", ""])
def test_a_name_that_is_none_says_how_to_write_one(target: str) -> None:
    with pytest.raises(AppNotFound, match="module:attribute"):
        load_app(target)


def test_a_module_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(AppNotFound, match="no module 'app_missing'"):
        load_app("app_missing:app")
    (folder / "app_package").mkdir()
    with pytest.raises(AppNotFound, match=r"no module 'app_package\.missing'"):
        load_app("app_package.missing:app")


def test_what_the_apps_module_fails_to_import_is_not_blamed_on_its_name(folder: Path) -> None:
    (folder / "app_broken.py").write_text("import not_installed_anywhere")
    with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
        load_app("app_broken:app")


def test_a_missing_attribute_comes_with_the_app_that_is_there(folder: Path) -> None:
    (folder / "app_other.py").write_text(GREETER)
    with pytest.raises(AppNotFound, match=r"'app_other' has no 'app'; did you mean app_other:served\?"):
        load_app("app_other:app")


def test_an_attribute_that_is_no_app_is_refused(folder: Path) -> None:
    (folder / "app_service.py").write_text(GREETER)
    with pytest.raises(AppNotFound, match="is of type Service, not an app"):
        load_app("app_service:greeter")
