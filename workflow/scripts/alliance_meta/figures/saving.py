"""Figures as files that are the same, byte for byte, on every run."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from alliance_meta.figures.theme import DPI, style


def _save_pdf(figures: Sequence[Figure], path: Path) -> None:
    # CreationDate None: a file's date would change its bytes
    with PdfPages(path, metadata={"CreationDate": None}) as pages:
        for figure in figures:
            pages.savefig(figure)


def _save_images(figure: Figure, stem: Path) -> list[Path]:
    vector, raster = stem.with_name(f"{stem.name}.svg"), stem.with_name(f"{stem.name}.png")
    figure.savefig(vector, format="svg", metadata={"Date": None})
    # level 3 writes 300 dpi pages twice as fast as the default for a tenth more bytes
    figure.savefig(raster, format="png", dpi=DPI, pil_kwargs={"compress_level": 3})
    return [vector, raster]


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Save a figure as ``<stem>.svg``, ``<stem>.pdf`` and ``<stem>.png`` (300 dpi).

    Parameters
    ----------
    figure
        The figure.
    stem
        Path without an ending; its folder is made where missing.

    Returns
    -------
    list of Path
        The files: SVG, PDF, PNG.
    """
    return save_pages([figure], stem)


def save_pages(figures: Sequence[Figure], stem: Path, *, whole_fonts: bool = True) -> list[Path]:
    """Save a figure of several pages.

    ``<stem>.pdf`` holds all pages; ``<stem>.svg`` and ``<stem>.png`` hold the first,
    ``<stem>_2.svg`` and ``<stem>_2.png`` the second, and so on. Pages left by an earlier,
    longer run are removed, so that the folder shows this run only.

    Parameters
    ----------
    figures
        The pages, at least one.
    stem
        Path without an ending; its folder is made where missing.
    whole_fonts
        Whether the PDF embeds TrueType fonts, whose letters other programs can edit; else
        Type 3, in a fifth of the time.

    Returns
    -------
    list of Path
        The files: SVG, PDF and PNG of page 1, then SVG and PNG of each further page.

    Raises
    ------
    ValueError
        If there is no page.
    """
    if not figures:
        raise ValueError("there is no page to save")
    stem = Path(stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    document = stem.with_name(f"{stem.name}.pdf")
    with style():
        vector, raster = _save_images(figures[0], stem)
        with rc_context({"pdf.fonttype": 42 if whole_fonts else 3}):
            _save_pdf(figures, document)
        files = [vector, document, raster]
        for number, figure in enumerate(figures[1:], start=2):
            files += _save_images(figure, stem.with_name(f"{stem.name}_{number}"))
    number = len(figures) + 1
    while (stale := stem.with_name(f"{stem.name}_{number}.svg")).exists():
        stale.unlink()
        stale.with_suffix(".png").unlink(missing_ok=True)
        number += 1
    return files
