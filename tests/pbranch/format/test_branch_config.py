"""branch_config.json: written whole, read strictly."""

import dataclasses
import json

import pytest

from pbranch.errors import AdapterError
from pbranch.format.branch_config import (
    FILE_NAME,
    BranchConfig,
    SwitchOptions,
    load_branch_config,
)
from pbranch.format.layout import LayoutOptions
from pbranch.format.markers import FORMAT_VERSION, MARKERS


@pytest.fixture
def stored(tmp_path, marker_ids):
    config = BranchConfig(marker_ids.as_dict(), "tiny", "abc", positions="flat", outline="own")
    config.save(tmp_path)
    return tmp_path, config


def change(folder, **changes):
    path = folder / FILE_NAME
    found = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in found.items() if v is not None}))


def test_round_trip(stored, marker_ids):
    folder, config = stored
    found = load_branch_config(folder)
    assert found.ids == config.ids == marker_ids
    assert found.layout_options == LayoutOptions(positions="flat", outline="own")
    assert found.markers == {role.value: text for role, text in MARKERS.items()}
    assert (found.base_model, found.base_fingerprint, found.join) == ("tiny", "abc", "keep")
    found.save(folder)
    assert load_branch_config(folder) == found
    path = folder / FILE_NAME
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # as some editors save it
    assert load_branch_config(folder) == found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": FORMAT_VERSION + 1}, f"format_version {FORMAT_VERSION + 1}, this"),
        ({"format_version": None}, "not a branch config .*format_version"),
        ({"marker_ids": None}, "not a branch config .*marker_ids"),
        ({"marker_ids": {"fork": 1}}, "not a branch config .*missing"),
        ({"marker_ids": [1, 2]}, "not a branch config"),
        ({"base_model": None}, "not a branch config .*base_model"),
        ({"markers": {"fork": "<f>"}}, "markers .*expected"),
        ({"markers": None}, "markers None, expected"),
        ({"join": "drop"}, "join is 'drop', expected keep or reencode"),
        ({"positions": "min"}, "positions is 'min', expected max or flat"),
        ({"outline": "none"}, "outline is 'none', expected all or own"),
        ({"form": "both"}, "form is 'both', expected parallel or linear or mixed"),
        ({"switch": {"parallel": 1}}, "switch.parallel is 1, expected a text or null"),
        ({"switch": {"serial": "x"}}, "not a branch config .*serial"),
        ({"switch": "x"}, "not a branch config"),
        ({"base_model": 7}, "base_model is 7, expected a name"),
        ({"base_model": "a\nb"}, "base_model is .*expected a name"),
        ({"base_fingerprint": ["x"]}, "base_fingerprint is .'x'., expected a name"),
        ({"branch_tokens": "many"}, "branch_tokens is 'many', expected a number or null"),
        ({"branch_tokens": float("nan")}, "branch_tokens is nan, expected a number or null"),
        ({"form": []}, "form is .., expected parallel"),
        ({"format_version": "x" * 9999}, "format_version 'xxx.*, this release reads"),
    ],
)
def test_what_does_not_fit_is_named(stored, changes, message):
    folder, _ = stored
    change(folder, **changes)
    with pytest.raises(AdapterError, match=message) as caught:
        load_branch_config(folder)
    assert str(folder) in str(caught.value)


def test_form_and_switch_are_stored_and_may_be_missing(stored):
    folder, config = stored
    switch = SwitchOptions(parallel="Fork.")
    dataclasses.replace(config, form="mixed", switch=switch).save(folder)
    found = load_branch_config(folder)
    assert (found.form, found.switch) == ("mixed", switch)
    assert (switch.text("parallel"), switch.text("linear")) == ("Fork.", None)
    change(folder, form=None, switch=None)  # as older releases wrote it
    assert not {"form", "switch"} & set(json.loads((folder / FILE_NAME).read_text()))
    found = load_branch_config(folder)
    assert (found.form, found.switch) == ("parallel", SwitchOptions())


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"3", b"null", b'{"a": "\xff"}',
                                  b'{"a": ' + b"[" * 100_000, b'{"a": ' + b"9" * 10_000 + b"}",
                                  b'{"a": "\\ud800"}'])  # fmt: skip
def test_files_that_are_no_config(tmp_path, text):
    (tmp_path / FILE_NAME).write_bytes(text)
    with pytest.raises(AdapterError, match="not a branch config"):
        load_branch_config(tmp_path)


def test_a_folder_without_config(tmp_path):
    with pytest.raises(AdapterError, match="expected an adapter made by ptrain"):
        load_branch_config(tmp_path)


def test_template_arguments_are_stored_and_may_be_missing(stored):
    folder, config = stored
    dataclasses.replace(config, template_args={"enable_thinking": False}).save(folder)
    assert load_branch_config(folder).template_args == {"enable_thinking": False}
    change(folder, template_args=None)
    assert load_branch_config(folder).template_args == {}
    change(folder, template_args="x")
    with pytest.raises(AdapterError, match="template_args is 'x', expected names and values"):
        load_branch_config(folder)


@pytest.mark.parametrize("token", [-1, 1 << 40, "7", True, 1.0, None])
def test_marker_ids_are_numbers(stored, token):
    folder, config = stored
    change(folder, marker_ids={**config.marker_ids, "fork": token})
    with pytest.raises(AdapterError, match=r"marker_ids.fork is .*, expected a token id"):
        load_branch_config(folder)
