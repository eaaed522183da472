"""The web page when answers come late or in another order, and when its user is quicker than it is."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import APIResponse, Page, Route, expect

from store.scopes import Scope
from tests.api.service.conftest import LEASE, WEIR, Service, ask, file, running, upload
from workers.settings import Settings

pytestmark = pytest.mark.browser

COLLECTIONS = re.compile(r"/v1/collections$")
LIST = re.compile(r"/v1/documents\?")
UPLOAD = re.compile(r"/v1/documents$")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service without keys, with one ready document."""
    for service in running(Settings(home=tmp_path_factory.mktemp("order"))):
        with service.client() as client:
            upload(client, "weir.md", f"# Weirs\n\n{WEIR}")
        service.work()
        yield service


class Held:
    """Requests to an address wait for their release; `late`: they are answered at once, and their answers wait."""

    def __init__(self, page: Page, address: re.Pattern[str], *, late: bool = False) -> None:
        self.page, self.late = page, late
        self.open = False  # for the next ones
        self.waiting: list[tuple[Route, APIResponse | None]] = []
        page.route(address, self._hold)

    def _hold(self, route: Route) -> None:
        if self.open:
            route.continue_()
            return
        self.waiting.append((route, route.fetch() if self.late else None))

    def come(self, count: int = 1) -> None:
        """Waits for requests; the next ones are let through."""
        while len(self.waiting) < count:
            self.page.wait_for_timeout(20)
        self.open = True  # and no `unroute`, which would let go what waits

    def release(self, change: Callable[[dict], object] = lambda told: None) -> None:
        """Lets them go, answers as they were unless `change` changes them."""
        for route, answer in self.waiting:
            if answer is None:
                route.continue_()
            else:
                told = answer.json()
                change(told)
                route.fulfill(response=answer, json=told)


def return_to_the_tab(page: Page) -> None:
    """The page asks again what there is."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def warn(told: dict) -> None:
    """Marks the list of a `fresh` collection, so that it can be seen when the page has taken it."""
    next(item for item in told["items"] if item["title"] == "lease.txt")["warnings"] = ["This list is late."]


def fresh(service: Service, page: Page, name: str) -> None:
    """Opens a collection of that name with one ready document in it."""
    with service.client() as client:
        upload(client, "lease.txt", LEASE, collection=name)
    service.work()
    page.goto(f"{service.url}/#{name}")
    expect(page.get_by_role("button", name="lease.txt", exact=True)).to_be_visible()


def test_files_chosen_before_the_page_knows_its_collection_go_into_it(page: Page, filled: Service) -> None:
    held = Held(page, COLLECTIONS)
    page.goto(f"{filled.url}/#early")
    page.set_input_files("#files", [file("early.txt", "Early words.")])
    held.come()
    held.release()
    expect(page.locator("tr", has_text="early.txt")).to_contain_text("queued")
    with filled.client() as client:
        assert [item["title"] for item in client.get("/v1/documents?collection=early").json()["items"]] == ["early.txt"]


def test_a_question_asked_before_the_page_knows_its_collection_waits_for_it(page: Page, filled: Service) -> None:
    held = Held(page, COLLECTIONS)
    page.goto(f"{filled.url}/#main")
    ask(page, "When was the gauge at Marlow Weir read?")
    held.come()
    held.release()
    expect(page.locator("article").first).to_contain_text("06:00 on 3 May 2024")


def test_a_question_asked_before_the_scripts_have_come_is_kept(page: Page, filled: Service) -> None:
    held = Held(page, re.compile(r"/web/page\.js$"))
    page.goto(f"{filled.url}/#main", wait_until="commit")
    page.fill("#question", "When was the gauge at Marlow Weir read?")
    page.press("#question", "Enter")
    held.come()
    held.release()
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("article").first).to_contain_text("06:00 on 3 May 2024")
    assert page.url == f"{filled.url}/#main"


def test_a_late_list_neither_takes_away_what_came_in_meanwhile_nor_brings_back_what_went(
    page: Page, filled: Service
) -> None:
    fresh(filled, page, "late")
    page.set_input_files("#files", [file("draft.txt", "A draft.")])
    expect(page.locator("tr", has_text="draft.txt")).to_contain_text("queued")
    filled.work()
    expect(page.get_by_role("button", name="draft.txt", exact=True)).to_be_visible()
    held = Held(page, LIST, late=True)
    return_to_the_tab(page)
    held.come()
    page.set_input_files("#files", [file("new.txt", "New words.")])
    expect(page.locator("tr", has_text="new.txt")).to_contain_text("queued")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete draft.txt").click()
    expect(page.locator("tr", has_text="draft.txt")).to_have_count(0)
    held.release(warn)
    expect(page.locator("tr", has_text="lease.txt")).to_contain_text("This list is late.")
    expect(page.locator("tr", has_text="new.txt")).to_contain_text("queued")
    assert page.locator("tr", has_text="draft.txt").count() == 0


def test_what_was_not_there_when_the_page_asked_and_was_uploaded_since_stays(page: Page, filled: Service) -> None:
    page.goto(f"{filled.url}/#first")
    expect(page.locator("#empty")).to_be_visible()
    held = Held(page, COLLECTIONS, late=True)
    return_to_the_tab(page)
    held.come()
    page.set_input_files("#files", [file("first.txt", "The first words.")])
    expect(page.locator("tr", has_text="first.txt")).to_contain_text("queued")
    with page.expect_response(COLLECTIONS):
        held.release()
    filled.work()
    expect(page.get_by_role("button", name="first.txt", exact=True)).to_be_visible()


def test_of_two_lists_the_one_that_was_asked_for_last_holds(page: Page, filled: Service) -> None:
    fresh(filled, page, "twice")
    held = Held(page, COLLECTIONS, late=True)
    return_to_the_tab(page)
    held.come()
    with filled.client() as client:
        client.post("/v1/collections", json={"name": "since"})
    return_to_the_tab(page)
    expect(page.locator("#collection option", has_text="since")).to_have_count(1)
    with page.expect_response(COLLECTIONS):
        held.release()
    page.evaluate("fetch('/healthz')")
    expect(page.locator("#collection option", has_text="since")).to_have_count(1)


def test_an_upload_that_ends_after_another_collection_was_looked_at_is_in_the_list(page: Page, filled: Service) -> None:
    fresh(filled, page, "left")
    held = Held(page, UPLOAD)
    page.set_input_files("#files", [file("slow.txt", "Slow words."), file("empty.txt", "")])
    held.come(2)
    page.select_option("#collection", "main")
    expect(page.get_by_role("button", name="weir.md", exact=True)).to_be_visible()
    expect(page.locator("tr", has_text="slow.txt")).to_have_count(0)
    page.select_option("#collection", "left")
    expect(page.get_by_role("button", name="lease.txt", exact=True)).to_be_visible()
    expect(page.locator("tr", has_text="slow.txt")).to_contain_text("uploading")
    held.release()
    expect(page.locator("tr", has_text="slow.txt")).to_contain_text("queued")
    expect(page.locator("tr", has_text="empty.txt")).to_contain_text("not uploaded: empty.txt is empty")
    page.select_option("#collection", "main")
    expect(page.locator("tr", has_text="empty.txt")).to_have_count(0)
    page.select_option("#collection", "left")
    page.get_by_role("button", name="Dismiss empty.txt").click()
    expect(page.locator("tr", has_text="empty.txt")).to_have_count(0)


def test_a_button_that_is_pressed_while_its_document_changes_is_heard(page: Page, filled: Service) -> None:
    fresh(filled, page, "pressed")
    page.set_input_files("#files", [file("draft.txt", "A draft.")])
    expect(page.locator("tr", has_text="draft.txt")).to_contain_text("queued")
    page.get_by_role("button", name="Delete draft.txt").hover()
    page.mouse.down()
    filled.work()
    expect(page.get_by_role("button", name="draft.txt", exact=True)).to_be_visible()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete draft.txt").dispatch_event("mouseup")
    page.mouse.up()
    expect(page.locator("tr", has_text="draft.txt")).to_have_count(0)


def test_an_answer_about_a_collection_that_was_left_opens_nothing(page: Page, filled: Service) -> None:
    with filled.client() as client:
        (document,) = client.get("/v1/documents?collection=main").json()["items"]
        client.post("/v1/collections", json={"name": "bare"})
    page.route(LIST, lambda route: route.fulfill(json={"items": [], "next": None}))  # as if it stood further below
    held = Held(page, re.compile(f"/v1/documents/{document['id']}$"))
    page.goto(f"{filled.url}/#main")
    ask(page, "When was the gauge at Marlow Weir read?")
    held.come()
    page.select_option("#collection", "bare")
    expect(page.locator("#answer")).to_be_empty()
    with page.expect_response(re.compile(f"/v1/documents/{document['id']}$")):
        held.release()
    page.evaluate("fetch('/healthz')")
    expect(page.locator("#viewer")).to_be_hidden()
    expect(page.locator("#answer")).to_be_empty()


def test_an_answer_does_not_take_the_focus_from_who_writes_the_next_question(page: Page, filled: Service) -> None:
    held = Held(page, re.compile("/v1/ask$"))
    page.goto(f"{filled.url}/#main")
    ask(page, "When was the gauge at Marlow Weir read?")
    held.come()
    page.fill("#question", "")
    held.release()
    expect(page.locator("#viewer mark")).to_be_visible()
    page.keyboard.type("And then?")
    expect(page.locator("#question")).to_have_value("And then?")
    page.locator("article button").click()
    expect(page.locator("article button")).to_be_focused()


def test_a_key_is_neither_taken_from_its_writer_nor_asked_for_again(page: Page, tmp_path: Path) -> None:
    for service in running(Settings(home=tmp_path / "home")):
        with replace(service, reader=service.key(Scope.ADMIN)).client() as client:
            upload(client, "weir.md", WEIR)
        service.work()
        held = Held(page, COLLECTIONS, late=True)
        page.goto(f"{service.url}/#main")
        held.come()
        page.get_by_role("button", name="API key").click()
        given = page.get_by_role("textbox", name="API key, kept in this tab only")
        given.fill("pk_half")
        with page.expect_response(COLLECTIONS):
            page.evaluate("location.hash = 'main?'")
        expect(page.locator("#note")).to_have_text("This service wants an API key.")
        expect(given).to_have_value("pk_half")
        page.evaluate("location.hash = 'main'")
        given.fill(service.key(Scope.READ))
        given.press("Enter")
        expect(page.get_by_role("button", name="weir.md", exact=True)).to_be_visible()
        with page.expect_response(lambda reply: reply.status == 401):  # to the first request, which had no key
            held.release()
        page.evaluate("fetch('/healthz')")
        expect(page.locator("#asked")).to_be_hidden()
        expect(page.locator("#note")).to_be_empty()
