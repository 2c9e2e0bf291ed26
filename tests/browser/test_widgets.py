"""unfold's moving parts under the policy, by mouse and by keyboard."""

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.conftest import Server, SignIn, settle

LIST = "/admin/services/service/"


def test_the_theme_is_chosen_and_kept(signed_in_page: SignIn) -> None:
    page = signed_in_page()
    page.goto(LIST)
    html = page.locator("html")
    expect(html).not_to_have_class(re.compile("dark"))

    open_user_menu(page)
    page.get_by_role("button", name="Dark").click()
    expect(html).to_have_class(re.compile("dark"))
    page.reload()

    expect(html).to_have_class(re.compile("dark"))


def test_the_theme_follows_the_system(signed_in_page: SignIn) -> None:
    page = signed_in_page(theme="dark")

    page.goto(LIST)

    expect(page.locator("html")).to_have_class(re.compile("dark"))


def test_a_stranger_chooses_a_theme_too(new_page: Callable[..., Page]) -> None:
    page = new_page()
    page.goto("/admin/login/")

    page.get_by_role("button", name="Theme").click()
    page.get_by_role("button", name="Dark").click()

    expect(page.locator("html")).to_have_class(re.compile("dark"))


def test_the_sidebar_folds_and_stays_folded(signed_in_page: SignIn) -> None:
    page = signed_in_page()
    page.goto(LIST)
    sidebar = page.locator("#nav-sidebar")
    expect(sidebar).to_be_visible()

    page.get_by_role("button", name="Sidebar").click()
    expect(sidebar).to_be_hidden()
    page.reload()

    expect(sidebar).to_be_hidden()
    page.get_by_role("button", name="Sidebar").click()
    expect(sidebar).to_be_visible()


def test_a_narrow_screen_has_a_menu(signed_in_page: SignIn) -> None:
    page = signed_in_page(width=400)
    page.goto(LIST)
    sidebar = page.locator("#nav-sidebar")
    expect(sidebar).to_be_hidden()

    page.get_by_role("button", name="Menu", exact=True).click()
    expect(sidebar).to_be_visible()
    page.get_by_role("button", name="Close the menu").click()

    expect(sidebar).to_be_hidden()


def test_the_user_menu_works_from_the_keyboard(signed_in_page: SignIn) -> None:
    page = signed_in_page()
    page.goto(LIST)
    logout = page.get_by_role("button", name="Log out")
    opener = page.locator("#nav-sidebar button[aria-expanded]").last

    opener.focus()
    page.keyboard.press("Enter")
    expect(logout).to_be_visible()
    page.keyboard.press("Escape")

    expect(logout).to_be_hidden()
    expect(opener).to_have_attribute("aria-expanded", "false")


def test_filters_open_apply_and_close(signed_in_page: SignIn) -> None:
    page = signed_in_page()
    page.goto("/stock/flags/flag/")
    sheet = page.locator("#changelist-filter")
    expect(sheet).to_be_hidden()

    opener = page.locator("[x-on\\:click='filterOpen = true']")
    opener.focus()
    page.keyboard.press("Enter")
    expect(sheet).to_be_visible()
    page.keyboard.press("Escape")
    expect(sheet).to_be_hidden()
    opener.click()
    sheet.get_by_role("link", name="Yes").click()

    expect(page).to_have_url(re.compile("enabled__exact=1"))


def test_the_slash_leads_to_the_search(signed_in_page: SignIn) -> None:
    page = signed_in_page()
    page.goto("/stock/services/service/")
    field = page.locator("input[name=q]")

    page.keyboard.press("/")
    expect(field).to_be_focused()
    page.keyboard.type("check")
    page.keyboard.press("Enter")

    expect(page).to_have_url(re.compile("q=check"))
    expect(page.locator("#result_list")).to_contain_text("checkout")


def test_the_palette_opens_finds_and_goes(signed_in_page: SignIn) -> None:
    page = signed_in_page()
    page.goto("/stock/flags/flag/")
    field = page.locator("#search-input-command")
    expect(field).to_be_hidden()

    page.keyboard.press("Control+k")
    expect(field).to_be_focused()
    page.keyboard.type("serv")
    expect(page.locator("#command-results-list a").first).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")

    expect(page).to_have_url(re.compile("/stock/services/"))
    settle(page)
    page.keyboard.press("Control+k")
    expect(page.locator("#command-history a").first).to_be_visible()
    # It is visible before it has the keys.
    expect(field).to_be_focused()
    page.keyboard.press("Escape")
    expect(field).to_be_hidden()


def test_the_sidebars_search_finds_and_goes(signed_in_page: SignIn) -> None:
    page = signed_in_page()
    page.goto("/stock/flags/flag/")
    found = page.locator("#search-results a")

    page.keyboard.press("t")
    page.keyboard.type("serv")
    expect(found.first).to_be_visible()
    page.keyboard.press("Escape")
    expect(found.first).to_be_hidden()
    page.keyboard.type("services")
    expect(found.first).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")

    expect(page).to_have_url(re.compile("/stock/services/"))


def test_rows_are_chosen_for_an_action(signed_in_page: SignIn) -> None:
    page = signed_in_page()
    page.goto("/stock/services/service/")

    page.locator("input.action-select").first.check()
    page.locator("select[name=action]").select_option("delete_selected")

    expect(page.locator("#changelist-actions button[name=index]")).to_be_visible()


def test_a_related_row_is_found_by_typing(signed_in_page: SignIn) -> None:
    page = signed_in_page()
    page.goto("/stock/flags/flag/add/")
    expect(page.locator("#id_key")).to_be_hidden()

    page.locator(".select2-selection").first.click()
    page.locator(".select2-search__field").fill("checkout")
    page.locator(".select2-results__option", has_text="checkout").first.click()

    expect(page.locator(".select2-selection__rendered").first).to_contain_text("checkout")
    expect(page.locator("#id_key")).to_be_visible()


def test_tabs_dates_times_and_conditions(signed_in_page: SignIn) -> None:
    page = signed_in_page()
    page.goto("/stock/flags/flag/add/")
    starts, ends = page.locator("#id_starts_at_0"), page.locator("#id_ends_at_0")
    expect(page.locator("#id_definition")).to_be_hidden()

    expect(ends).to_be_hidden()
    page.locator("#id_enabled").check()
    expect(ends).to_be_visible()
    page.locator("#calendarlink0").click()
    page.locator("#calendarbox0 td a").nth(10).click()
    page.locator("#clocklink0").click()
    page.locator("#clockbox0").get_by_role("link", name="Noon").click()
    page.locator("a", has_text="What").click()

    expect(starts).to_have_value(re.compile(r"\d{4}-\d\d-\d\d"))
    expect(page.locator("#id_starts_at_1")).to_have_value("12:00:00")
    expect(page.locator("#id_definition")).to_be_visible()
    expect(starts).to_be_hidden()


def test_a_password_is_shown_on_demand(signed_in_page: SignIn) -> None:
    page = signed_in_page()
    page.goto("/stock/flags/flag/add/")
    field = page.locator("#id_passphrase")
    expect(field).to_have_attribute("type", "password")

    page.locator("[title='Toggle password visibility']").click()

    expect(field).to_have_attribute("type", "text")


def test_inlines_grow_under_their_tab(signed_in_page: SignIn, server: Server) -> None:
    page = signed_in_page()
    service = server.demo["services"]["acme/shop/production/checkout"]["id"]
    page.goto(f"/stock/services/service/{service}/change/#api_keys")

    page.locator("#tabs-items a", has_text="Api keys").click()
    rows = page.locator("#api_keys-group .form-group:not(.empty-form)")
    before = rows.count()
    page.locator("#api_keys-group .add-row").click()

    expect(rows).to_have_count(before + 1)
    form = page.locator("#service_form")
    expect(form).to_have_attribute("action", re.compile(r"/change/#"))


def open_user_menu(page: Page) -> None:
    page.locator("#nav-sidebar button[aria-expanded]").last.click()
