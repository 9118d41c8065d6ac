"""`prepare`: every layout's masks become one form; what cannot be used is named."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest
from made_data import (
    BODY_BOX,
    HEAD_BOX,
    NECK_BOX,
    SIDE,
    celebamask_label,
    drawn_portrait,
    portrait_photo,
    write_pair,
)
from made_workshop import FASSEG, LFW, MUT1NY, coloured_label, head_middle, write_mut1ny
from PIL import Image

from headcut.errors import OptionError, OutputError
from headcut_train import prepare as preparing
from headcut_train.layouts import CELEBAMASK_PARTS, MaskError, find_pairs, kinds_of_colours
from headcut_train.layouts import MUT1NY as MUT1NY_PALETTE
from headcut_train.manifest import (
    HEAD_LEVEL,
    NECK_LEVEL,
    UNKNOWN_LEVEL,
    read_manifest,
    read_mask,
    sample_of,
)
from headcut_train.prepare import LeftOut, as_table, on_all_cores, prepare
from headcut_train.sources import HEAD, KNOWN, NECK


def prepared(source: Path, layout: str) -> tuple[np.ndarray, Path]:
    """Return the mask of the only pair, and the folder written."""
    out = source.with_name("out")
    manifest, left_out = prepare(source, layout, out, workers=1)
    assert left_out == []
    return read_mask(manifest.file(manifest.pairs[0].mask)), out


def plain_label() -> Image.Image:
    return drawn_portrait(0, 0, 0, 255, 255)


NECK_ROW = (HEAD_BOX[3] + BODY_BOX[1]) // 2
NECK_COLUMN = (NECK_BOX[0] + NECK_BOX[2]) // 2


@pytest.mark.parametrize(
    ("layout", "label", "neck"),
    [
        ("mut1ny", coloured_label(MUT1NY), HEAD_LEVEL),
        ("fasseg", coloured_label(FASSEG), HEAD_LEVEL),
        ("lfw", coloured_label(LFW, smooth=False), HEAD_LEVEL),
        ("celebamask", celebamask_label(), NECK_LEVEL),
        ("lapa", drawn_portrait(0, 0, 0, 1, 10), 0),
        ("folder", plain_label(), 0),
    ],
)
def test_every_layout_becomes_one_form(
    layout: str, label: Image.Image, neck: int, tmp_path: Path
) -> None:
    """Whatever the colours, 255 is head; the neck is head until `neck` cuts it, or known."""
    write_pair(tmp_path / "source", "a", portrait_photo(), label)
    mask, _ = prepared(tmp_path / "source", layout)
    assert mask.shape == (SIDE, SIDE)
    column, row = head_middle()
    assert mask[row, column] == HEAD_LEVEL
    assert mask[HEAD_BOX[1] + 3, column] == HEAD_LEVEL, "hair"
    assert mask[NECK_ROW, NECK_COLUMN] == neck
    assert mask[2, 2] == 0
    assert mask[-2, NECK_COLUMN] == 0, "clothes"
    assert set(np.unique(mask)) <= {0, NECK_LEVEL, UNKNOWN_LEVEL, HEAD_LEVEL}


def test_smooth_edges_are_no_third_colour() -> None:
    """Between grey skin and yellow hair lies the beard's pink, or nearly: not beside them."""
    label = coloured_label(MUT1NY)
    assert len(label.getcolors(100000)) > 6, "the edges are anti-aliased"
    kinds = kinds_of_colours(np.asarray(label), MUT1NY_PALETTE)
    sharp = kinds_of_colours(np.asarray(coloured_label(MUT1NY, smooth=False)), MUT1NY_PALETTE)
    assert set(np.unique(kinds)) == set(np.unique(sharp))
    assert (kinds != sharp).mean() < 0.03


def test_celebamask_as_published(tmp_path: Path) -> None:
    """One PNG a part, of half the photo's size, in numbered folders."""
    source = tmp_path / "source"
    (source / "CelebA-HQ-img").mkdir(parents=True)
    anno = source / "CelebAMask-HQ-mask-anno" / "0"
    anno.mkdir(parents=True)
    portrait_photo().resize((2 * SIDE, 2 * SIDE)).save(source / "CelebA-HQ-img" / "7.jpg")
    label = np.asarray(celebamask_label())
    for number in (1, 13, 17, 18):
        part = Image.fromarray((label == number) * np.uint8(255))
        part.save(anno / f"00007_{CELEBAMASK_PARTS[number - 1]}.png")
    mask, _ = prepared(source, "celebamask")
    assert mask.shape == (2 * SIDE, 2 * SIDE)
    assert mask[2 * NECK_ROW, 2 * NECK_COLUMN] == NECK_LEVEL
    assert mask[2 * head_middle()[1], 2 * head_middle()[0]] == HEAD_LEVEL


def test_masks_beside_their_photos(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    portrait_photo().save(source / "me.jpg")
    plain_label().save(source / "me_mask.png")
    mask, _ = prepared(source, "folder")
    assert (mask == HEAD_LEVEL).sum() > 500


def test_photos_beside_each_other_of_one_stem_share_their_mask(tmp_path: Path) -> None:
    for name in ("me.jpg", "me.png", "me_mask.png", "you_mask.png"):
        portrait_photo().save(tmp_path / name)
    found = {pair.name: (pair.photo, pair.masks) for pair in find_pairs(tmp_path)}
    mask, alone = (tmp_path / "me_mask.png",), (tmp_path / "you_mask.png",)
    assert found == {
        "me": (tmp_path / "me.jpg", mask),
        "me.png": (tmp_path / "me.png", mask),
        "you": (None, alone),
    }


def test_a_grey_mask_may_have_an_opaque_alpha(tmp_path: Path) -> None:
    write_pair(tmp_path / "source", "a", portrait_photo(), plain_label().convert("LA"))
    mask, _ = prepared(tmp_path / "source", "folder")
    assert (mask == HEAD_LEVEL).sum() > 500


def test_a_plain_mask_with_a_palette_has_its_colours(tmp_path: Path) -> None:
    """White may be number 0 of it."""
    label = plain_label().convert("L").point(lambda level: 255 - level)
    label.putpalette([255, 255, 255, *[0] * 765])
    write_pair(tmp_path / "source", "a", portrait_photo(), label)
    mask, _ = prepared(tmp_path / "source", "folder")
    column, row = head_middle()
    assert (mask[row, column], mask[0, 0]) == (HEAD_LEVEL, 0)


def test_a_plain_mask_may_have_a_class_of_any_colour(tmp_path: Path) -> None:
    """Number 1 of a palette is red in many a set."""
    label = plain_label().convert("L").point(lambda level: level // 255)
    label.putpalette([0, 0, 0, 128, 0, 0, *[0] * 762])
    write_pair(tmp_path / "source", "a", portrait_photo(), label)
    mask, _ = prepared(tmp_path / "source", "folder")
    column, row = head_middle()
    assert (mask[row, column], mask[0, 0]) == (HEAD_LEVEL, 0)


def test_class_numbers_may_be_of_one_bit(tmp_path: Path) -> None:
    """0 and 1 are background and skin."""
    label = plain_label().convert("1")
    write_pair(tmp_path / "source", "a", portrait_photo(), label)
    mask, _ = prepared(tmp_path / "source", "lapa")
    assert (mask == HEAD_LEVEL).sum() > 500


def test_masks_that_are_read_are_never_replaced(tmp_path: Path) -> None:
    source = tmp_path / "mine"
    for folder, picture in (("images", portrait_photo()), ("masks", plain_label())):
        (source / folder).mkdir(parents=True)
        picture.save(source / folder / "a.png")
    before = (source / "masks" / "a.png").read_bytes()
    with pytest.raises(OptionError, match="lies where masks are written; choose another OUT"):
        prepare(source, "folder", source, workers=1)
    assert (source / "masks" / "a.png").read_bytes() == before


def test_a_stray_pixel_of_a_mask_ends_nothing(tmp_path: Path) -> None:
    label = Image.new("L", (100, 100))
    label.paste(255, (40, 70, 60, 94))
    label.putpixel((3, 2), 255)
    write_pair(tmp_path / "source", "a", portrait_photo().resize((100, 100)), label)
    _, out = prepared(tmp_path / "source", "folder")
    manifest = read_manifest(out)
    assert len(sample_of(manifest, manifest.pairs[0]).boxes) == 1


def test_grey_of_a_plain_mask_is_unknown_and_counts_nowhere(tmp_path: Path) -> None:
    label = np.array(plain_label())
    label[:10] = 128
    write_pair(tmp_path / "source", "a", portrait_photo(), Image.fromarray(label))
    _, out = prepared(tmp_path / "source", "folder")
    manifest = read_manifest(out)
    sample = sample_of(manifest, manifest.pairs[0])
    assert not (sample.plane[:10] & KNOWN).any()
    assert (sample.plane[20:] & KNOWN).all()
    assert not sample.neck_labelled


def test_a_sample_knows_the_neck_that_is_labelled(tmp_path: Path) -> None:
    write_pair(tmp_path / "source", "a", portrait_photo(), celebamask_label())
    _, out = prepared(tmp_path / "source", "celebamask")
    manifest = read_manifest(out)
    sample = sample_of(manifest, manifest.pairs[0], longest_px=48)
    assert sample.photo.shape == (48, 48, 3)
    assert sample.neck_labelled
    bits = sample.plane[NECK_ROW // 2, NECK_COLUMN // 2]
    assert bits & (KNOWN | NECK | HEAD) == KNOWN | NECK
    assert sample.plane[head_middle()[1] // 2, head_middle()[0] // 2] & HEAD
    assert sample.boxes[0, 3] == pytest.approx(HEAD_BOX[3] / 2, abs=1)


def write_bad(source: Path) -> Path:
    """One good pair, and one of each that cannot be used."""
    write_mut1ny(source, 1)
    label = coloured_label(MUT1NY)
    portrait_photo().save(source / "images" / "alone.webp")
    label.save(source / "labels" / "lonely.png")
    write_pair(source, "small", portrait_photo(), label.resize((SIDE, SIDE // 2)))
    write_pair(source, "empty", portrait_photo(), Image.new("RGB", (SIDE, SIDE)))
    write_pair(source, "broken", portrait_photo(), label)
    broken = source / "images" / "broken.webp"
    broken.write_bytes(broken.read_bytes()[:40])
    write_pair(source, "torn", portrait_photo(), label)
    torn = source / "labels" / "torn.png"
    torn.write_bytes(torn.read_bytes()[:60])
    pink = Image.new("RGB", (SIDE, SIDE), (90, 200, 90))
    write_pair(source, "strange", portrait_photo(), pink)
    return source


def test_what_cannot_be_used_is_named_with_its_reason(tmp_path: Path) -> None:
    source = write_bad(tmp_path / "source")
    manifest, left_out = prepare(source, "mut1ny", tmp_path / "out", workers=1)
    assert [pair.name for pair in manifest.pairs] == ["00"]
    reasons = {row.name: row.reason for row in left_out}
    assert reasons == {
        "alone": "no mask for the photo",
        "lonely": "no photo for the mask",
        "small": "the mask is 96x48, the photo 96x96",
        "empty": "the mask is empty: no head",
        "broken": reasons["broken"],
        "torn": "the mask is unreadable",
        "strange": "unknown colour (90, 200, 90) in 100% of the mask",
    }
    assert reasons["broken"].startswith("the photo is unreadable: ")
    table = (tmp_path / "out" / "left_out.csv").read_text().splitlines()
    assert len(table) == 1 + len(left_out)
    written = [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert {p.name for p in written} == {"manifest.jsonl", "left_out.csv", "00.png"}


@pytest.mark.parametrize(
    ("layout", "label", "reason"),
    [
        ("celebamask", Image.new("L", (SIDE, SIDE), 19), "unknown class 19"),
        ("lapa", Image.new("RGB", (SIDE, SIDE)), "coloured"),
        ("folder", Image.new("RGB", (SIDE, SIDE), (255, 0, 0)), "coloured"),
    ],
)
def test_masks_of_another_layout_are_recognised(
    layout: str, label: Image.Image, reason: str, tmp_path: Path
) -> None:
    """The wrong --layout must not end in a manifest of nonsense."""
    write_pair(tmp_path / "source", "a", portrait_photo(), label)
    manifest, left_out = prepare(tmp_path / "source", layout, tmp_path / "out", workers=1)
    assert manifest.pairs == ()
    assert reason in left_out[0].reason


def test_parts_of_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(MaskError, match="unreadable"):
        preparing.LAYOUTS["folder"].read((tmp_path / "none.png",), (2, 2))


def test_a_second_run_redoes_only_what_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = write_mut1ny(tmp_path / "source", 3), tmp_path / "out"
    first, _ = prepare(source, "mut1ny", out, workers=1)
    done = []
    real = preparing._prepared
    monkeypatch.setattr(preparing, "_prepared", lambda job: done.append(job) or real(job))
    (out / "masks" / "01.png").unlink()
    write_pair(source, "03", portrait_photo(), coloured_label(MUT1NY))
    second, _ = prepare(source, "mut1ny", out, workers=1)
    assert [job.files.name for job in done] == ["01", "03"]
    assert second.pairs[:3] == first.pairs
    assert len(second.pairs) == 4


def test_a_stop_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was finished is in the journal; a line that the stop cut short is done again."""
    source, out = write_mut1ny(tmp_path / "source", 4), tmp_path / "out"
    real, done = preparing._prepared, []

    def stopping(job: object) -> object:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(job)
        return real(job)

    monkeypatch.setattr(preparing, "_prepared", stopping)
    with pytest.raises(KeyboardInterrupt):
        prepare(source, "mut1ny", out, workers=1)
    assert not (out / "manifest.jsonl").exists(), "an unfinished manifest is not one"
    journal = out / "manifest.part.jsonl"
    journal.write_text(journal.read_text()[:-20])
    again: list[object] = []
    monkeypatch.setattr(preparing, "_prepared", lambda job: again.append(job) or real(job))
    manifest, _ = prepare(source, "mut1ny", out, workers=1)
    assert (len(again), len(manifest.pairs)) == (3, 4)
    assert not journal.exists()


def test_full_disk_is_one_line_and_resumable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = write_mut1ny(tmp_path / "source", 3), tmp_path / "out"
    real = preparing.write_png

    def full(path: Path, pixels: np.ndarray) -> None:
        if path.name == "01.png":
            raise OutputError(f"cannot write {path}: no space left; free some space")
        real(path, pixels)

    monkeypatch.setattr(preparing, "write_png", full)
    with pytest.raises(OutputError, match="free some space"):
        prepare(source, "mut1ny", out, workers=1)
    assert sorted(p.name for p in (out / "masks").iterdir()) == ["00.png"]
    monkeypatch.setattr(preparing, "write_png", real)
    manifest, left_out = prepare(source, "mut1ny", out, workers=1)
    assert (len(manifest.pairs), left_out) == (3, [])


def test_journal_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_mut1ny(tmp_path / "source", 1)

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(OutputError, match="free some space"):
        prepare(source, "mut1ny", tmp_path / "out", workers=1)


def test_all_cores_give_the_same(tmp_path: Path) -> None:
    source = write_bad(tmp_path / "source")
    alone = prepare(source, "mut1ny", tmp_path / "a", workers=1)
    together = prepare(source, "mut1ny", tmp_path / "b", workers=2)
    assert together[0].pairs == alone[0].pairs
    assert together[1] == alone[1]


def test_the_first_error_of_a_worker_ends_all() -> None:
    with pytest.raises(OptionError, match="no such folder"):
        list(on_all_cores(find_pairs, [Path("nowhere")] * 3, 2, "test"))


def test_places_that_will_not_do(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(OptionError, match="a file, not a folder"):
        prepare(file, "folder", tmp_path / "out")
    with pytest.raises(OptionError, match="no such folder"):
        prepare(tmp_path / "none", "folder", tmp_path / "out")
    (tmp_path / "bare").mkdir()
    with pytest.raises(OptionError, match="no photos with masks"):
        prepare(tmp_path / "bare", "folder", tmp_path / "out")
    source = write_mut1ny(tmp_path / "source", 1)
    with pytest.raises(OptionError, match="choose another OUT"):
        prepare(source, "mut1ny", file)
    prepare(source, "mut1ny", tmp_path / "out", workers=1)
    other = write_mut1ny(tmp_path / "other", 1)
    with pytest.raises(OptionError, match="choose another OUT"):
        prepare(other, "mut1ny", tmp_path / "out", workers=1)


def test_photos_of_one_stem_do_not_hide_each_other(tmp_path: Path) -> None:
    """a.webp and a.png beside it: the second is not lost without a word."""
    source = write_mut1ny(tmp_path / "source", 1)
    portrait_photo().save(source / "images" / "00.png")
    assert [pair.name for pair in find_pairs(source)] == ["00", "00.webp"]


def test_a_mask_is_of_the_photo_in_its_own_folder(tmp_path: Path) -> None:
    """Another person's photo of the same number has none; one alone of its name fits anywhere."""
    for name in ("p1/001", "p2/001", "002", "p1/003", "p2/003"):
        path = tmp_path / "images" / f"{name}.webp"
        path.parent.mkdir(parents=True, exist_ok=True)
        portrait_photo().save(path)
    for name in ("p1/001", "p3/001", "p3/002", "003"):
        path = tmp_path / "labels" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        plain_label().save(path)
    masks = {pair.name: [mask.parent.name for mask in pair.masks] for pair in find_pairs(tmp_path)}
    assert masks == {
        "p1/001": ["p1"],
        "p2/001": [],
        "p3/001": ["p3"],
        "002": ["p3"],
        "p1/003": [],
        "p2/003": [],
        "003": ["labels"],
    }


def test_held_out_pairs_stay_held_out_when_others_come(tmp_path: Path) -> None:
    """Otherwise a network would be scored on what it was trained on."""
    source = write_mut1ny(tmp_path / "source", 8)
    first, _ = prepare(source, "mut1ny", tmp_path / "out", held_out_pct=40, workers=1)
    write_pair(source, "0a", portrait_photo(), coloured_label(MUT1NY))
    second, _ = prepare(source, "mut1ny", tmp_path / "out", held_out_pct=40, workers=1)
    assert 0 < len(first.used("val")) < 8
    assert {p.name for p in first.used("val")} <= {p.name for p in second.used("val")}


def test_table_counts_by_reason() -> None:
    rows = [LeftOut(f"{i}", "no mask for the photo") for i in range(5)] + [LeftOut("x", "other")]
    lines = as_table(rows, most=1).splitlines()
    assert lines[0].split() == ["5", "no", "mask", "for", "the", "photo:", "0,", "1,", "2,", "..."]
    assert "1 more reasons" in lines[1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no manifest of version 1"),
        ("nonsense\n", "line 1"),
        ('{"headcut_manifest": 9, "layout": "folder", "source": "s"}\n', "line 1"),
        ('{"headcut_manifest": 1, "layout": "folder", "source": "s"}\n', "is empty"),
        (
            '{"headcut_manifest": 1, "layout": "folder", "source": "s"}\n{"name": "a", "x": 1}\n',
            "line 2",
        ),
    ],
)
def test_manifest_that_makes_no_sense(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    path.write_text(text)
    with pytest.raises(OptionError, match=reason):
        read_manifest(path)
    with pytest.raises(OptionError, match="make one with prepare"):
        read_manifest(tmp_path / "none.jsonl")


def test_a_manifest_is_json_lines_with_relative_paths(tmp_path: Path) -> None:
    """Photos and manifest can be moved together."""
    source = write_mut1ny(tmp_path / "source", 1)
    prepare(source, "mut1ny", tmp_path / "out", workers=1)
    header, row = map(json.loads, (tmp_path / "out/manifest.jsonl").read_text().splitlines())
    assert header["layout"] == "mut1ny"
    assert row["photo"] == "../source/images/00.webp"
    assert (row["mask"], row["skin"], row["neck"]) == ("masks/00.png", "skin/00.png", "inside")
