/* What unfold's templates expect of the page, for Alpine's CSP build (docs/decisions/0006).
 *
 * That build evaluates one expression at a time and knows no globals. Here stand the components that
 * unfold defines as globals or inline, and the few names of the window that its expressions use.
 * unfold's own app.js, which has the functions, comes before this file. */
"use strict";

document.addEventListener("alpine:init", () => {
  // The globals are looked up when they are called: app.js may define them later than this runs.
  for (const name of ["theme", "searchForm", "searchCommand"]) {
    Alpine.data(name, (...given) => window[name](...given));
  }

  Alpine.data("searchDropdown", () => ({
    ...searchDropdown(),

    open() {
      this.openSearchResults = true;
      this.currentIndex = 0;
    },

    close() {
      const input = this.$refs.searchInput;
      this.openSearchResults = false;
      if (input.value === "") {
        input.blur();
      } else {
        input.value = "";
      }
    },

    // unfold counts list items, and its answer has links.
    links: () => [...document.querySelectorAll("#search-results a")],
    maxItem() {
      return this.links().length;
    },
    selectItem() {
      const link = this.links()[Math.max(this.currentIndex, 1) - 1];
      if (link) {
        window.location = link.href;
      }
    },
  }));

  /* Select2 tells its changes through jQuery alone. unfold carries them to fields on which others depend
   * by statements in an attribute; the event itself does it too. */
  for (const select of document.querySelectorAll("select[x-init^='const $']")) {
    select.removeAttribute("x-init");
    django.jQuery(select).on("select2:select select2:unselect select2:clear", () =>
      select.dispatchEvent(new Event("change", { bubbles: true })),
    );
  }

  /* On <body>, so every expression of a page finds these names. `firstTab` is empty where a page has none. */
  Alpine.data("consolePage", (firstTab = "") => ({
    activeTab: firstTab,
    sidebarMobileOpen: false,
    sidebarDesktopOpen: localStorage.getItem("sidebarDesktopOpen") !== "0",

    init() {
      if (firstTab) {
        this.activeTab = getCurrentTab() || firstTab;
      }
      this.$watch("sidebarDesktopOpen", (open) =>
        localStorage.setItem("sidebarDesktopOpen", open ? "1" : "0"),
      );
    },

    // For change forms: their address carries the open tab.
    window: {
      get location() {
        return { pathname: window.location.pathname, search: window.location.search };
      },
    },

    // For inlines and lists whose rows can be moved.
    sortRecords: (event) => sortRecords(event),
    moveRecords: (event) => moveRecords(event),
  }));
});

/* unfold puts clicks on elements that a keyboard does not reach: they become buttons for it as well. */
(() => {
  const native = "a[href], button, input, select, textarea, label, summary, [tabindex], [aria-hidden]";

  function makeReachable(root) {
    const found = [...root.querySelectorAll("[x-on\\:click]")];
    if (root.matches("[x-on\\:click]")) {
      found.push(root);
    }
    for (const element of found) {
      // A heading keeps its role; what only closes an overlay has no text, and Escape does the same.
      const isPart = element.querySelector(native) || element.parentElement.closest("a[href], button");
      if (element.matches(native) || isPart || !element.textContent.trim()) {
        continue;
      }
      element.tabIndex = 0;
      if (!/^H[1-6]$/.test(element.tagName)) {
        element.setAttribute("role", "button");
      }
    }
  }

  document.addEventListener("keydown", (event) => {
    const element = event.target;
    const presses = event.key === "Enter" || event.key === " ";
    if (presses && element.matches("[x-on\\:click][tabindex]") && !element.matches("a[href], button, input")) {
      event.preventDefault();
      element.click();
    }
  });

  document.addEventListener("alpine:initialized", () => {
    makeReachable(document.body);
    new MutationObserver((changes) => {
      for (const { addedNodes } of changes) {
        for (const node of addedNodes) {
          if (node instanceof Element) {
            makeReachable(node);
          }
        }
      }
    }).observe(document.body, { childList: true, subtree: true });
  });
})();
