"""Sheets with one mistake each, as reviewers make them, and the message each gets."""

import pytest

from alliance_meta.cli import main

HEADER = "study_id,citation_key,year,effect_type,effect_value,n,rater,variance,ci_low,ci_high"
GOOD = "smith2001,smith2001,2001,r,0.31,84,client,,,"
OTHER = "jones2010,jones2010,2010,r,0.18,140,observer,,,"
BIB = """\
@article{smith2001, author = {Smith, A.}, title = {One}, journal = {J}, year = {2001}}
@article{jones2010, author = {Jones, B.}, title = {Two}, journal = {J}, year = {2010}}
"""
CONFIG = """\
effects: [data/raw/effects.csv]
references: [data/raw/references.bib]
analyses: {overall: {}}
"""
PLACE = "data/raw/effects.csv row 3"


@pytest.fixture
def check(tmp_path, capsys):
    """Return a function that checks a sheet and gives exit code and text on one line."""

    def run(*, rows=(), header=HEADER, data=None, bib=BIB):
        for folder in ("config", "data/raw"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "config/config.yaml").write_text(CONFIG)
        (tmp_path / "data/raw/references.bib").write_text(bib)
        text = "\n".join([header, *rows]) + "\n"
        (tmp_path / "data/raw/effects.csv").write_bytes(data or text.encode())
        code = main(["check", str(tmp_path)])
        return code, " ".join(capsys.readouterr().out.split())

    return run


def test_the_good_sheet_has_no_problems(check):
    assert check(rows=[GOOD, OTHER]) == (0, "No problems.")


def changed(**cells):
    """Return the second row with some cells changed."""
    row = dict(zip(HEADER.split(","), OTHER.split(","), strict=True))
    return ",".join((row | cells).values())


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            changed(rater="terapist"),
            ", column rater: 'terapist' is not a rater. Did you mean 'therapist'?",
        ),
        (
            changed(effect_value="1.8"),
            ", column effect_value: 1.8 is not possible for a correlation, which lies between -1 "
            "and 1. If this is Fisher's z, code effect_type fisher_z;",
        ),
        (
            changed(n="3"),
            ", column n: n is 3, but the sampling variance of a correlation needs n above 3.",
        ),
        (
            changed(effect_value="ns"),
            ", column effect_value: 'ns' is not a number. Leave the cell empty and say in "
            "exclude_reason why the row cannot be pooled; it is then kept and listed.",
        ),
        (
            changed(year="2101"),
            ", column year: year is 2101, but must be between 1900 and 2035.",
        ),
        (
            changed(citation_key="jones2001"),
            ", column citation_key: 'jones2001' is not in the bibliography "
            "(data/raw/references.bib). Did you mean 'jones2010'?",
        ),
        (
            # the standard error of r = .18 with n = 140
            changed(variance="0.082"),
            ", column variance: 0.082 seems to be a standard error, not a variance: it is as large "
            "as 140 persons imply. Move it to se, or enter its square (0.006724).",
        ),
        (
            changed(ci_low="0.30", ci_high="0.50"),
            ", column effect_value: 0.18 lies outside its confidence interval, 0.3 to 0.5.",
        ),
        (
            GOOD,
            ": This row repeats row 2: all coded cells are equal.",
        ),
        (
            changed(effect_type="cohens dd"),
            ", column effect_type: 'cohens dd' is not an effect type. Did you mean 'd'?",
        ),
    ],
)
def test_a_mistake_in_a_cell_gets_one_message(check, row, message):
    code, said = check(rows=[GOOD, row])
    assert code == 1
    assert f"data/raw/effects.csv row 3{message}" in said
    assert said.endswith(" 1 problem")


@pytest.mark.parametrize(
    ("sheet", "message"),
    [
        (
            {"header": HEADER.replace("effect_type", "type"), "rows": [GOOD]},
            "data/raw/effects.csv, column effect_type: The column effect_type is missing; there "
            "is a column 'type'. Rename it to effect_type.",
        ),
        (
            {},
            "data/raw/effects.csv: The sheet has a header but no rows below it.",
        ),
        (
            {"data": f"{HEADER}\nMüller2001,smith2001\n".encode("cp1252")},
            "data/raw/effects.csv row 2: The file is not saved as UTF-8: row 2 has a letter that "
            "cannot be read (near 'Müller2001'). In Excel choose File > Save As > 'CSV UTF-8",
        ),
        (
            {"data": f"{HEADER}\n{GOOD}\n".replace(",", "|").encode()},
            "data/raw/effects.csv row 1: The columns of this sheet are not separated by commas, "
            "semicolons or tabs.",
        ),
        (
            {"rows": [GOOD], "bib": BIB + "@article{broken, title = {x\n"},
            "data/raw/references.bib row 3: The entry in line 3 cannot be read (it begins: "
            "@article{broken, title = {x).",
        ),
    ],
)
def test_a_file_that_cannot_be_read_gets_one_message(check, sheet, message):
    code, said = check(**sheet)
    assert code == 1
    assert message in said
    assert said.endswith(" 1 problem")
