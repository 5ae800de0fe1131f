"""The synthesis report in a real Chromium: it fits, folds, prints, and runs nothing."""

import re
import subprocess
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pandas as pd
import pytest

from alliance_meta.report import render_report

pytestmark = pytest.mark.chromium

POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')

# runs in a copy of the page without its policy, and tells the frame around it what it sees
PROBE = """<script>
addEventListener("load", async () => {
  // what depends on scrolling is settled some frames later
  await new Promise(done => setTimeout(done, 500));
  const seen = {};
  const root = document.scrollingElement;
  seen.overflow = root.scrollWidth - innerWidth;
  seen.title = document.title;
  seen.images = [...document.images].filter(i => i.complete && i.naturalWidth > 0).length;
  seen.figures = document.images.length;
  seen.loads = performance.getEntriesByType("resource")
    .filter(e => !e.name.startsWith("data:")).length;
  const wide = document.querySelector("#effects .scroll, #results .scroll");
  seen.scrolls = wide.scrollWidth > wide.clientWidth;
  const hint = e => parseFloat(getComputedStyle(e, "::before").height) > 5;
  const frames = [...document.querySelectorAll(".scroll")];
  seen.hinted = frames.filter(hint).length;
  seen.scrolling = frames.filter(e => e.scrollWidth > e.clientWidth).length;
  seen.astray = frames.filter(e => hint(e) !== e.scrollWidth > e.clientWidth).length;
  wide.scrollLeft = 60;
  const name = wide.querySelector("tbody th");
  seen.sticky = Math.abs(name.getBoundingClientRect().left - wide.getBoundingClientRect().left) < 2;
  const clipped = [...document.querySelectorAll("h1, h2, h3, p, dd, dt, li, summary, caption")]
    .filter(e => !e.closest(".scroll") && e.getClientRects().length
      && e.getBoundingClientRect().right > innerWidth + 1
      && !e.classList.contains("skip"));
  seen.clipped = clipped.length;
  seen.paper = getComputedStyle(document.body).backgroundColor;
  seen.panel = getComputedStyle(document.querySelector(".panel")).backgroundColor;
  const out = Object.entries(seen).map(([k, v]) => k + "=" + v).join("\\n");
  parent.postMessage(out, "*");
});
</script></body>"""

FRAME = """<!DOCTYPE html><body><pre id="seen"></pre>
<script>
addEventListener("message", e => {{ document.getElementById("seen").textContent = e.data; }});
</script><iframe src="page.html" style="width:{width}px;height:800px;border:0"></iframe></body>"""


@pytest.fixture(scope="module")
def samples():
    path = Path(__file__).parents[1] / "unit" / "report_samples.py"
    spec = spec_from_file_location("report_samples", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_chromium(chromium, tmp_path, *options):
    # a profile of its own, so that no running browser is joined
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def look(chromium, tmp_path, html, width, *options):
    """Return what the probe sees in a window of this width."""
    probed = POLICY.sub("", html).replace("</body>", PROBE)
    (tmp_path / "page.html").write_text(probed, encoding="utf-8")
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(width=width), encoding="utf-8")
    options = ("--window-size=1400,1000", "--virtual-time-budget=5000", *options)
    dom = run_chromium(chromium, tmp_path, *options, "--dump-dom", frame.as_uri())
    seen = re.search(r'<pre id="seen">(.*?)</pre>', dom, re.DOTALL).group(1)
    return dict(line.split("=", 1) for line in seen.splitlines())


def unfolded(html):
    return html.replace("<details>", "<details open>")


@pytest.mark.parametrize("width", [320, 390, 800, 1280])
def test_page_fits_its_window(chromium, tmp_path, samples, make_effects, width):
    html = unfolded(render_report(samples.report(make_effects)))
    seen = look(chromium, tmp_path, html, width)
    assert int(seen["overflow"]) <= 0
    assert seen["clipped"] == "0"
    assert seen["images"] == seen["figures"] == "6"
    if width <= 390:
        assert seen["scrolls"] == "true"
        assert seen["sticky"] == "true"


@pytest.mark.parametrize("width", [390, 1280])
def test_narrow_screen_says_which_frames_scroll(chromium, tmp_path, samples, make_effects, width):
    html = unfolded(render_report(samples.report(make_effects)))
    seen = look(chromium, tmp_path, html, width)
    if width == 390:
        assert seen["astray"] == "0"
        assert int(seen["hinted"]) == int(seen["scrolling"]) > 4
    else:
        assert seen["hinted"] == "0"


def test_hostile_texts_fit_and_run_nothing(chromium, tmp_path, samples, make_effects):
    content = samples.report(make_effects, samples.HOSTILE)
    html = unfolded(render_report(content))
    seen = look(chromium, tmp_path, html, 390)
    assert seen["title"].startswith("Alliance and outcome")
    assert int(seen["overflow"]) <= 0
    assert seen["images"] == "6"
    assert seen["loads"] == "0"
    # and with its policy in force the page is shown as it was written
    page = tmp_path / "whole.html"
    page.write_text(html, encoding="utf-8")
    dom = run_chromium(chromium, tmp_path, "--dump-dom", page.as_uri())
    assert re.search(r"<title>Alliance and outcome", dom)
    assert "Key result" in dom


def test_long_words_do_not_push_the_page_wider(chromium, tmp_path, samples, make_effects):
    html = unfolded(render_report(samples.report(make_effects, "x" * 300)))
    seen = look(chromium, tmp_path, html, 390)
    assert int(seen["overflow"]) <= 0
    assert seen["clipped"] == "0"


def test_dark_scheme_keeps_figures_on_white(chromium, tmp_path, samples, make_effects):
    html = render_report(samples.report(make_effects))
    light = look(chromium, tmp_path, unfolded(html), 800)
    dark = look(chromium, tmp_path, unfolded(html), 800, "--blink-settings=preferredColorScheme=0")
    assert light["paper"] == "rgb(255, 255, 255)"
    assert dark["paper"] != light["paper"]
    assert dark["panel"] == "rgb(255, 255, 255)"


def count_printed_pages(chromium, tmp_path, html):
    page, pdf = tmp_path / "print.html", tmp_path / "print.pdf"
    page.write_text(html, encoding="utf-8")
    run_chromium(chromium, tmp_path, f"--print-to-pdf={pdf}", page.as_uri())
    return len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes()))


def with_left_out(samples, make_effects, count):
    rows = pd.DataFrame({"effect_id": [f"e{i}" for i in range(count)]})
    rows = rows.assign(study_id="s9", reason="no value for rater")
    content = samples.report(make_effects)
    return replace(content, analyses=(replace(content.analyses[0], left_out=rows),))


def test_print_shows_what_is_folded(chromium, tmp_path, samples, make_effects):
    # enough folded rows to fill pages
    html = render_report(with_left_out(samples, make_effects, 800))
    folded = count_printed_pages(chromium, tmp_path, html)
    assert folded == count_printed_pages(chromium, tmp_path, unfolded(html))
    few = render_report(with_left_out(samples, make_effects, 1))
    assert folded > count_printed_pages(chromium, tmp_path, few) + 1


def test_long_list_of_left_out_effects_is_printed_compactly(
    chromium, tmp_path, samples, make_effects
):
    pages = [
        count_printed_pages(
            chromium, tmp_path, render_report(with_left_out(samples, make_effects, count))
        )
        for count in (1, 100)
    ]
    assert pages[1] - pages[0] <= 1
