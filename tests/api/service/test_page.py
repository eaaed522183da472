"""The web page as people use it, in a real browser, and the files that it is made of."""

import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pymupdf
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from api.routes.page import WEB
from store.scopes import Scope
from tests.api.service.conftest import LEASE, PATIENCE, WEIR, Service, ask, file, running, upload
from workers.settings import Settings

QUOTED = "The siren at Harbour Gate was tested on 9 June 2024."
HOSTILE = "<img src=x onerror=document.title='run'>.txt"


def pdf() -> bytes:
    """Two pages; the sentence that answers stands on the second, a third of the way down."""
    with pymupdf.open() as document:
        document.new_page().insert_text((72, 100), "Minutes of the harbour board, first part.")
        document.new_page().insert_text((72, 280), QUOTED)
        return bytes(document.tobytes())


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service without keys over three ready documents."""
    for service in running(Settings(home=tmp_path_factory.mktemp("page"), max_file_bytes=2_000_000)):
        with service.client() as client:
            upload(client, "minutes.pdf", pdf())
            upload(client, "weir.md", f"# Weirs\n\n{WEIR}")
            upload(client, HOSTILE, f"<b>Bold</b> <script>document.title='run'</script> {LEASE}")
        service.work()
        yield service


def test_the_page_names_only_its_own_files_and_runs_nothing_that_stands_in_it(library: Service) -> None:
    with library.client() as client:
        reply = client.get("/")
        named = re.findall(r'(?:src|href)="(/web/[^"]+)"', reply.text)
        assert {client.get(path).status_code for path in named} == {200}
        assert client.get("/web/index.html").status_code == 404
        assert client.get("/web/..%2F..%2Fprices.toml").status_code == 404
        assert client.get("/web/nope.js").json()["detail"] == "The page has no file 'nope.js'."
    policy = dict(part.split(" ", 1) for part in reply.headers["Content-Security-Policy"].split("; "))
    assert (policy["default-src"], policy["script-src"], policy["style-src"]) == ("'none'", "'self'", "'self'")
    assert policy["frame-ancestors"] == "'none'"
    assert re.findall(r"<script(?![^>]* src=)|<style| style=| on\w+=", reply.text) == []
    texts = {path.name: path.read_text("utf-8") for path in WEB.iterdir()}
    hosts = {name: re.findall(r"https?://(?!www\.w3\.org/2000/svg)[^\s\"']+", text) for name, text in texts.items()}
    assert {name: found for name, found in hosts.items() if found} == {}
    assert [
        name for name, text in texts.items() if re.search(r"innerHTML|outerHTML|insertAdjacentHTML|eval\(", text)
    ] == []


def test_a_page_of_a_pdf_is_drawn_and_what_has_none_is_said_so(filled: Service) -> None:
    with filled.client() as client:
        ids = {item["title"]: item["id"] for item in client.get("/v1/documents?collection=main").json()["items"]}
        reply = client.get(f"/v1/documents/{ids['minutes.pdf']}/pages/2/image")
        assert reply.headers["Content-Type"] == "image/png"
        with Image.open(io.BytesIO(reply.content)) as image:
            assert max(image.size) == 1600  # the long side of A4, at 144 dots an inch or less
            assert min(image.convert("L").tobytes()) < 100  # something is printed on it
        for page in (0, 3):
            refused = client.get(f"/v1/documents/{ids['minutes.pdf']}/pages/{page}/image")
            assert (refused.status_code, refused.json()["detail"].partition(". ")[2]) == (
                404,
                "The document has 2 pages, from 1.",
            )
        refused = client.get(f"/v1/documents/{ids['weir.md']}/pages/1/image")
        assert refused.json()["detail"].endswith("Only the pages of PDF files that are ready can be drawn.")


@pytest.mark.browser
def test_documents_are_uploaded_followed_and_their_failures_explained(page: Page, filled: Service) -> None:
    page.goto(f"{filled.url}/#fresh")
    expect(page.get_by_text("Drop documents anywhere on this page")).to_be_visible()
    expect(page.locator("#documents")).to_be_hidden()
    files = [file("weir.md", WEIR), file("broken.pdf", b"%PDF-1.7 nothing"), file("empty.txt", "")]
    page.set_input_files("#files", files)
    expect(page.locator("tr", has_text="empty.txt")).to_contain_text("not uploaded: empty.txt is empty")
    expect(page.locator("tr", has_text="weir.md")).to_contain_text("queued")
    expect(page.locator("tr", has_text="broken.pdf")).to_contain_text("queued")
    filled.work()
    expect(page.locator("tr", has_text="weir.md").get_by_role("button", name="weir.md", exact=True)).to_be_visible()
    said = "failed: broken.pdf is a damaged or truncated PDF: it cannot be opened. Save it again."
    expect(page.locator("tr", has_text="broken.pdf")).to_contain_text(said)
    expect(page.locator("#figures")).to_contain_text("1 of 2 documents ready")
    page.set_input_files("#files", [file("weir.md", WEIR)])
    expect(page.locator("#note")).to_have_text("weir.md is here already, with the same bytes.")
    page.set_input_files("#files", [file("weir.md", f"{WEIR} It was read again.")])
    expect(page.locator("tr", has_text="weir.md").filter(has_text="queued")).to_be_visible()
    expect(page.locator("tr", has_text="weir.md")).to_have_count(2)  # the new version beside the old one
    filled.work()
    expect(page.locator("tr", has_text="weir.md")).to_have_count(1)


@pytest.mark.browser
def test_files_are_taken_where_they_are_dropped(page: Page, filled: Service) -> None:
    page.goto(f"{filled.url}/#dropped")
    expect(page.locator("#empty")).to_be_visible()
    carried = page.evaluate_handle("""() => {
        const carried = new DataTransfer();
        carried.items.add(new File(["The tide table of 2024."], "tides.txt"));
        return carried;
    }""")
    page.dispatch_event("#library", "dragover", {"dataTransfer": carried})
    expect(page.locator("#drop")).to_have_text("Drop to add to dropped")
    page.dispatch_event("#library", "drop", {"dataTransfer": carried})
    expect(page.locator("tr", has_text="tides.txt")).to_contain_text("queued")
    expect(page.locator("#drop")).to_be_hidden()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete this collection").click()
    expect(page.locator("#empty")).to_be_visible()


@pytest.mark.browser
def test_what_stands_in_documents_is_shown_and_not_run(page: Page, filled: Service) -> None:
    page.goto(f"{filled.url}/#main")
    page.get_by_role("button", name=HOSTILE, exact=True).click()
    expect(page.locator("#viewed")).to_have_text(HOSTILE)
    page.get_by_role("button", name="Text", exact=True).click()
    expect(page.locator("#sheet pre")).to_contain_text("<b>Bold</b> <script>document.title='run'</script>")
    ask(page, "When does the lease of Harbour House end?")
    expect(page.locator("article").first).to_contain_text("31 January 2027")
    assert page.locator("#documents img, article img[src=x], #sheet script").count() == 0
    assert page.title() == "Percel"


@pytest.mark.browser
def test_the_policy_stops_a_script_that_gets_in_all_the_same(browser: Browser, filled: Service) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"{filled.url}/#main")
        with page.expect_console_message(lambda said: "Content Security Policy" in said.text):
            page.evaluate(
                "document.body.insertAdjacentHTML('beforeend', `<img src=x onerror=\"document.title='run'\">`)"
            )
        assert page.title() == "Percel"


@pytest.mark.browser
def test_a_citation_shows_its_box_on_the_page_of_its_source(page: Page, filled: Service) -> None:
    page.goto(f"{filled.url}/#main")
    ask(page, "When was the siren at Harbour Gate tested?")
    card = page.locator("article").first
    expect(card).to_contain_text(f"{QUOTED}minutes.pdf, page 2")
    expect(card.locator(".small .box")).to_be_visible()
    expect(page.locator("#place")).to_have_text("page 2 of 2")
    box, sheet = page.locator("#sheet .box").bounding_box(), page.locator("#sheet img").bounding_box()
    assert box is not None
    assert sheet is not None
    middle = (box["y"] + box["height"] / 2 - sheet["y"]) / sheet["height"]
    assert middle == pytest.approx(276 / 842, abs=0.01)  # of an A4 page, the line's baseline is at 280 points
    page.get_by_role("button", name="As encoded").click()
    expect(page.get_by_alt_text("as the encoder sees it")).to_be_visible()
    assert "8 chunks" not in page.locator("#answer").inner_text()
    expect(page.locator("#answer")).to_contain_text("3 chunks loaded")


@pytest.mark.browser
def test_a_quote_from_a_format_without_pages_is_marked_in_its_text(page: Page, filled: Service) -> None:
    page.goto(f"{filled.url}/#main")
    ask(page, "When was the gauge at Marlow Weir read?")
    expect(page.locator("article").first).to_contain_text("weir.md, line 3")
    expect(page.locator("#sheet mark")).to_contain_text("06:00 on 3 May 2024")
    expect(page.locator("#sheet pre")).to_contain_text("Its serial number is GX-20418.")
    ask(page, "Harbour", how="Search")
    expect(page.locator("article")).to_have_count(3)
    ask(page, "Who won the Nobel Prize in Physics in 1998?")
    expect(page.locator("#answer")).to_contain_text("Nothing in these documents answers this.")
    page.route("**/v1/ask", lambda route: route.abort())
    ask(page, "Is anybody there?")
    expect(page.locator("#answer .failed")).to_have_text("The service does not answer. Is it running?")


@pytest.mark.browser
def test_what_a_model_writes_is_shown_while_it_writes_it(page: Page, filled: Service) -> None:
    """Its events arrive cut anywhere, and one of them holds what JavaScript takes for the end of a line."""
    with filled.client() as client:
        answer = client.post("/v1/ask", json={"question": "When was the siren tested?", "collection": "main"}).json()
    answer |= {"mode": "text", "answer": "On 9 June\u2028<i>2024</i>."}
    done = json.dumps(answer, ensure_ascii=False)
    body = f': ping\n\nevent: answer\ndata: {{"text": "On 9 June"}}\n\nevent: done\r\ndata: {done}\r\n\r\n'
    page.route("**/v1/ask", lambda route: route.fulfill(content_type="text/event-stream", body=body))
    page.goto(f"{filled.url}/#main")
    ask(page, "When was the siren tested?")
    expect(page.locator(".written")).to_have_text("On 9 June\u2028<i>2024</i>.")
    expect(page.locator("article").first).to_contain_text("minutes.pdf, page 2")
    failed = 'event: answer\ndata: {"text": "On"}\n\nevent: error\ndata: {"detail": "The model is gone."}\n\n'
    page.route("**/v1/ask", lambda route: route.fulfill(content_type="text/event-stream", body=failed))
    ask(page, "And now?")
    expect(page.locator("#answer .failed")).to_have_text("The model is gone.")
    begun = 'event: answer\ndata: {"text": "On"}\n\n'
    page.route("**/v1/ask", lambda route: route.fulfill(content_type="text/event-stream", body=begun))
    ask(page, "And then?")
    expect(page.locator("#answer .failed")).to_have_text("The answer broke off: the service went away. Ask again.")


@pytest.mark.browser
def test_a_deleted_document_is_gone(page: Page, filled: Service) -> None:
    with filled.client() as client:
        made = upload(client, "draft.txt", "A draft.", collection="drafts").json()
    filled.work()
    page.goto(f"{filled.url}/#drafts")
    page.get_by_role("button", name="draft.txt", exact=True).click()
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Delete draft.txt").click()
    expect(page.get_by_role("button", name="draft.txt", exact=True)).to_be_visible()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete draft.txt").click()
    expect(page.locator("#empty")).to_be_visible()
    expect(page.locator("#viewer")).to_be_hidden()
    with filled.client() as client:
        assert client.get(f"/v1/documents/{made['id']}").status_code == 404


@pytest.mark.browser
def test_the_newest_documents_stand_first_and_what_comes_next_above_them(page: Page, filled: Service) -> None:
    titles = page.locator("#documents tbody tr td:first-child bdi")
    with filled.client() as client:
        for number in range(3):
            upload(client, f"{number}.txt", f"{WEIR}{number}", collection="order")
        page.goto(f"{filled.url}/#order")
        expect(titles).to_have_text(["2.txt", "1.txt", "0.txt"])
        upload(client, "elsewhere.txt", f"{WEIR}elsewhere", collection="order")
        page.locator("#files").set_input_files([file("here.txt", f"{WEIR}here")])
        expect(titles).to_have_text(["here.txt", "2.txt", "1.txt", "0.txt"])
        page.evaluate("import('/web/documents.js').then(list => list.openCollection('order', true))")
        expect(titles).to_have_text(["here.txt", "elsewhere.txt", "2.txt", "1.txt", "0.txt"])


@pytest.mark.browser
def test_a_key_is_asked_for_where_one_is_needed(page: Page, tmp_path: Path) -> None:
    for service in running(Settings(home=tmp_path / "home")):
        guarded = replace(service, reader=service.key(Scope.ADMIN))
        with guarded.client() as client:
            upload(client, "weir.md", WEIR)
        guarded.work()
        page.goto(service.url)
        given = page.get_by_role("textbox", name="API key, kept in this tab only")
        given.fill("pk_nonsense")
        given.press("Enter")
        expect(page.locator("#note")).to_have_text("This service wants an API key.")
        given.fill(service.key(Scope.READ))
        given.press("Enter")
        expect(page.get_by_role("button", name="weir.md", exact=True)).to_be_visible()
        page.reload()
        expect(page.get_by_role("button", name="weir.md", exact=True)).to_be_visible()
        page.set_input_files("#files", [file("more.txt", "More.")])
        expect(page.locator("tr", has_text="more.txt")).to_contain_text("This needs a key with the scope 'ingest'.")


@pytest.mark.browser
def test_a_narrow_window_and_a_keyboard_are_enough(page: Page, filled: Service) -> None:
    page.set_viewport_size({"width": 360, "height": 640})
    page.goto(f"{filled.url}/#main")
    expect(page.locator("#documents tbody tr")).to_have_count(3)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.focus("#question")
    page.keyboard.type("When was the siren at Harbour Gate tested?")
    page.keyboard.press("Enter")
    expect(page.locator("article").first).to_be_visible()
    expect(page.locator("#viewer")).to_be_hidden()  # it would lie over the answer
    for _ in range(3):  # Ask, Search, the first citation
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#sheet .box")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#place")).to_have_text("page 1 of 2")
    expect(page.locator("#sheet .box")).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    expect(page.locator("article button").first).to_be_focused()


@pytest.mark.browser
def test_a_dark_system_gets_a_dark_page(page: Page, filled: Service) -> None:
    page.goto(f"{filled.url}/#main")
    shade = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(shade)
    page.emulate_media(color_scheme="dark")
    assert (light, page.evaluate(shade)) == ("rgb(250, 249, 246)", "rgb(21, 24, 27)")


def test_pages_are_drawn_for_those_only_who_may_read_their_document(guarded: Service) -> None:
    owner = guarded.key(Scope.READ, Scope.INGEST)
    with guarded.client(owner) as client:
        document = upload(client, "minutes.pdf", pdf(), collection="closed").json()
        upload(client, "weir.md", WEIR, collection="open")
        guarded.work()
        path = f"/v1/documents/{document['id']}/pages/1/image"
        assert client.get(path).headers["content-type"] == "image/png"
    others = {
        guarded.key(Scope.READ, collections=["open"]): 404,
        guarded.key(Scope.ADMIN, tenant="other"): 404,
        guarded.key(Scope.INGEST): 403,
        None: 401,
    }
    for key, status in others.items():
        with guarded.client(key) as client:
            assert client.get(path).status_code == status
