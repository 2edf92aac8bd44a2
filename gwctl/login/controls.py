"""The usable controls of a page: the scripts that find them there, and their values outside the browser.

The script for unknown pages only collects; ``recognition`` decides which control means what.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

INTO_FRAME = " |> "
"""Separates a frame from the element in it, in an address."""
CHOICE = " => "
"""Separates a list from the value of its option, in an address."""

# A function that returns the content of the page: the controls that a person can see and use, in document order, with
# open shadow roots and frames of the same origin. It reports whether a field contains something, never what. Each
# control gets an attribute to find it again. It returns none while the page is being built: they must have been the
# same for a while, longer before the form is first seen. The page keeps ``memory`` between two looks.
COLLECT_SCRIPT = r"""
(memory, id, shown, origin) => {
  const FIRST_MS = 1000, LATER_MS = 400, MOST = 300, MOST_DRAWN = 1500;
  const NO_TEXT = ["hidden", "file", "range", "color", "date", "time", "month", "week", "datetime-local"];
  const sound = (t) => (t || "").replace(/[\ud800-\udfff]/g, "");
  const short = (t) => sound(t).replace(/\s+/g, " ").trim().slice(0, 80);
  const style = (e) => e.ownerDocument.defaultView.getComputedStyle(e);
  const host = (e) => e.getRootNode() instanceof ShadowRoot ? e.getRootNode().host : null;
  const up = (e) => e.assignedSlot || e.parentElement || host(e);
  const above = (e, s) => { for (let x = e; x; x = up(x)) if (x.matches(s)) return x; return null; };

  const usable = (e) => {
    if (!shown(e)) return false;
    const box = e.getBoundingClientRect(), view = e.ownerDocument.defaultView;
    if (box.width < 6 || box.height < 6) return false;
    if (box.right + view.scrollX <= 0 || box.bottom + view.scrollY <= 0) return false;
    for (let x = e; x; x = up(x)) {
      if (x.inert || x.getAttribute("aria-hidden") === "true") return false;
      if (x === e || x === x.ownerDocument.body || x === x.ownerDocument.documentElement) continue;
      const around = x.getBoundingClientRect();
      if ((around.width < 2 || around.height < 2) && style(x).overflow !== "visible") return false;
      if (/^rect\(0(px)?[ ,]+0/.test(style(x).clip) && style(x).position === "absolute") return false;
    }
    return true;
  };

  // The name a screen reader would use; for a field without a label, the text before it.
  const refer = (e, attribute) => (e.getAttribute(attribute) || "").split(/\s+/).filter(Boolean)
    .map((n) => e.getRootNode().getElementById(n)).filter(Boolean);
  const pictures = (e) => [...e.querySelectorAll("[alt], [aria-label], title")]
    .map((x) => x.alt || x.getAttribute("aria-label") || x.textContent).join(" ");
  const written = (e) => e.tagName === "INPUT" ? e.value || e.alt : e.innerText || pictures(e);
  const beside = (e) => {
    for (let x = e, n = 0; x && n < 3; x = up(x), n++) {
      const node = x.previousSibling, before = x.previousElementSibling;
      if (node && node.nodeType === Node.TEXT_NODE && short(node.data)) return short(node.data);
      if (!before || before.matches("script, style, template")) continue;
      return before.matches("input, select, button") || before.querySelector("input, select, button")
        ? "" : short(before.innerText);
    }
    return "";
  };
  const nameOf = (e, button) => short(refer(e, "aria-labelledby").map((x) => x.innerText).join(" "))
    || short(e.getAttribute("aria-label"))
    || short([...(e.labels || [])].map((x) => x.innerText).join(" "))
    // A switch that is no checkbox has its name inside or next to it: use both, so that neither is missed.
    || (button ? short(written(e)) : e.matches("input, select, textarea") ? "" : short(`${written(e)} ${beside(e)}`))
    || short(e.title) || short(e.getAttribute("placeholder"))
    || short(above(e, "[label]")?.getAttribute("label"))
    || (button ? "" : beside(e));

  const isOn = (e) => {
    if (e.type === "checkbox" || e.type === "radio") return !!e.checked;
    for (const a of ["aria-checked", "aria-selected", "aria-pressed", "aria-current"])
      if (e.hasAttribute(a)) return e.getAttribute(a) !== "false";
    if (e.dataset.state) return ["on", "checked", "active", "selected", "open"].includes(e.dataset.state);
    return /(^|[\s_-])(active|selected|current|checked|is-?on)([\s_-]|$)/i.test(e.className) ? true : null;
  };
  const kindOf = (e) => {
    const tag = e.tagName, type = (e.type || "").toLowerCase(), role = e.getAttribute("role") || "";
    if (tag === "SELECT") return "select";
    if (role === "switch" || role === "checkbox") return "switch";
    if (role === "option") return "option";
    if (role === "radio" || role === "tab" || role === "menuitemradio") return "choice";
    if (tag === "INPUT") {
      if (type === "checkbox") return "switch";
      if (type === "radio") return "choice";
      if (type === "submit" || type === "image") return "submit";
      if (type === "button" || type === "reset") return "button";
      if (NO_TEXT.includes(type)) return "";
      if (type === "password" || !["", "none"].includes(style(e).webkitTextSecurity || "")) return "password";
      return type === "search" || role === "searchbox" ? "search" : "text";
    }
    if (tag === "BUTTON") {
      if (e.hasAttribute("aria-pressed")) return "choice";
      return type === "submit" && e.form ? "submit" : "button";
    }
    return role === "button" ? "button" : "";
  };
  const address = (e, inside) => {
    const mark = String(id(e));
    if (e.dataset.gwctl !== mark) e.dataset.gwctl = mark;
    return `${inside}[data-gwctl="${mark}"]`;
  };
  const isOurs = (e, form, document) => {
    const target = (e.hasAttribute("formaction") && e.formAction)
      || (form && form.hasAttribute("action") && new URL(form.getAttribute("action"), document.baseURI).href);
    try { return !target || target.startsWith("about:") || new URL(target).origin === origin; } catch { return false; }
  };

  const ASIDE = "footer, header, nav, [role=contentinfo], [role=banner], [role=navigation]";
  const controls = [], alerts = [], roots = new Set(), cards = new Map();
  const take = (e, kind, inside, document) => {
    const button = !["text", "search", "password", "select", "switch"].includes(kind) && e.type !== "radio";
    let handle = e;
    if (!usable(e)) {
      // A styled switch hides its checkbox, and a person clicks the element drawn for it.
      if (e.type !== "checkbox" && e.type !== "radio") return;
      handle = above(e, "[aria-hidden=true]") ? null : [...(e.labels || []), up(e)].find((x) => x && usable(x));
      if (!handle) return;
    }
    const form = e.form || above(e, "form"), scope = id(form || document);
    const group = above(e, "[role=radiogroup], [role=tablist], [role=group], fieldset, form") || up(e);
    const words = [e.id, e.getAttribute("name"), e.type === "email" ? "email" : "", e.getAttribute("placeholder")];
    controls.push({
      n: id(e), at: address(handle, inside), kind, name: nameOf(e, button), scope, form: !!form,
      words: sound(words.filter(Boolean).join(" ")).slice(0, 200),
      autocomplete: (e.getAttribute("autocomplete") || "").toLowerCase().slice(0, 80),
      aside: !!above(e, ASIDE), toggle: e.getAttribute("role") === "switch",
      group: e.type === "radio" && e.name ? `${scope} ${sound(e.name)}` : String(id(group)),
      ours: isOurs(e, form, document),
      filled: !!e.value && ["text", "search", "password", "select"].includes(kind),
      on: ["text", "search", "password", "select", "submit"].includes(kind) ? null : isOn(e),
      length: e.maxLength > 0 ? e.maxLength : 0,
      numeric: ["numeric", "decimal", "tel"].includes(e.inputMode) || ["number", "tel"].includes(e.type)
        || /^\^?(\[0-9\]|\\d)/.test(e.pattern || ""),
      required: !!e.required || e.getAttribute("aria-required") === "true",
      off: !!e.disabled || e.getAttribute("aria-disabled") === "true",
      fixed: !!e.readOnly || (!button && !!e.disabled) || e.getAttribute("aria-readonly") === "true",
      options: kind !== "select" ? [] : [...e.options].filter((o) => !o.disabled).slice(0, 40)
        .map((o) => [sound(o.value), short(o.label), o.selected]),
    });
    if (kind === "card") cards.set(controls.at(-1), e);
    if (e.getAttribute("aria-invalid") === "true")
      alerts.push(...[...refer(e, "aria-errormessage"), ...refer(e, "aria-describedby")].filter(shown));
  };

  // Something else to click; of two nested ones, the inner one.
  const pointed = (e) => !!e && style(e).cursor === "pointer";
  const isCard = (e) => (e.matches("a, li, [onclick], [tabindex], [role=listitem], [role=link]") || e.onclick
      || (pointed(e) && !pointed(up(e))))
    && e.textContent.length <= 400 && !above(e, ASIDE) && !e.querySelector("input, select, button")
    && e.innerText && e.innerText.length <= 120;
  const takeCard = (e, inside, document) => {
    for (let n = controls.length - 1; n >= 0; n--) if (cards.get(controls[n])?.contains(e)) controls.splice(n, 1);
    take(e, "card", inside, document);
  };

  const walk = (root, inside, document, visit) => {
    for (const e of root.querySelectorAll("*")) {
      if (controls.length >= MOST) return;
      if (e.shadowRoot) { roots.add(e.shadowRoot); walk(e.shadowRoot, inside, document, visit); }
      if (e.tagName !== "IFRAME" && e.tagName !== "FRAME") { visit(e, inside, document); continue; }
      const within = e.contentDocument;
      if (!within || !within.body || within.defaultView.origin !== origin || !usable(e)) continue;
      roots.add(within);
      walk(within, address(e, inside) + " |> ", within, visit);
    }
  };
  const foreign = location.origin !== origin;
  if (!foreign && document.readyState !== "loading") {
    walk(document, "", document, (e, inside, within) => {
      const kind = kindOf(e);
      if (kind) take(e, kind, inside, within);
      if (e.matches("[role=alert], [aria-live=assertive]") && !e.querySelector("input") && shown(e))
        alerts.push(e);
    });
    // Looking for cards reads every element's style, so only small pages are searched: a question's page is small.
    if (!controls.some((c) => c.kind === "password") && document.querySelectorAll("*").length < MOST_DRAWN)
      walk(document, "", document, (e, inside, within) => {
        if (!kindOf(e) && isCard(e)) takeCard(e, inside, within);
      });
  }

  const password = controls.some((c) => c.kind === "password");
  const same = controls.map((c) => c.n + c.kind).join();
  const now = performance.now();
  if (memory.same !== same) { memory.same = same; memory.since = now; }
  const wanted = !memory.understood ? FIRST_MS : password ? 0 : LATER_MS;
  const built = document.readyState === "complete" && now - memory.since >= wanted;
  if (built && password) memory.understood = true;
  const texts = [...roots].flatMap((r) => r.body ? [r.body] : [...r.children])
    .map((e) => (e.innerText || "").slice(0, 4000));
  const said = alerts.map((e) => e.innerText.trim());
  return {
    controls: built ? controls : [],
    settling: !foreign && !built && controls.length > 0,
    alerts: sound([...new Set(said)].filter(Boolean).join("\n")).slice(0, 500),
    success: texts.some((t) => t.includes("Client login succeeds")),
    foreign,
  };
}
"""


class Control(Struct, frozen=True):
    """One control that a person can use, as the script saw it; ``at`` is the address to find it again.

    ``kind`` is one of text, search, password, submit, button, switch (with checkboxes), choice (radios, tabs, buttons
    that stay pressed), select, option and card (another thing to click). ``on`` is None if the page does not say.
    ``words`` are the hidden ones: its id, its name, its placeholder. ``aside`` means that it is in the page's header,
    footer or navigation, ``toggle`` that it is a switch but no plain checkbox.
    """

    n: int
    at: str
    kind: str
    name: str = ""
    words: str = ""
    autocomplete: str = ""
    scope: int = 0
    form: bool = True
    aside: bool = False
    toggle: bool = False
    group: str = ""
    ours: bool = True
    filled: bool = False
    on: bool | None = None
    length: int = 0
    numeric: bool = False
    required: bool = False
    off: bool = False
    fixed: bool = False
    options: tuple[tuple[str, str, bool], ...] = ()

    @classmethod
    def from_script(cls, value: Mapping[str, Any]) -> Control:
        """Return the control that the script described."""
        options = tuple((str(one), str(label), bool(selected)) for one, label, selected in value["options"])
        return cls(**{**value, "options": options})

    def is_called(self, *tokens: str) -> bool:
        """Say whether its ``autocomplete`` contains one of ``tokens``."""
        return any(token in self.autocomplete.split() for token in tokens)

    @property
    def label(self) -> str:
        """Its name, otherwise its words."""
        return self.name or self.words

    @property
    def title(self) -> str:
        """Its name for a person."""
        return f'"{self.label or self.kind}"'


class Collected(Struct, frozen=True):
    """The input of recognition; ``foreign`` means that the page is not on the origin where the login began.

    ``has_switch`` means that it has the paper switch of a known version.
    """

    controls: tuple[Control, ...] = ()
    alerts: str = ""
    text: str = ""
    foreign: bool = False
    has_switch: bool = False

    @classmethod
    def from_script(cls, value: Mapping[str, Any]) -> Collected:
        """Return what the script collected."""
        controls = tuple(Control.from_script(one) for one in value["controls"])
        has_switch = bool(value.get("has_switch"))
        return cls(controls, str(value["alerts"]), str(value["text"]), bool(value["foreign"]), has_switch)


_EVERY = """
  const every = (s) => { try { return [...document.querySelectorAll(s)]; } catch { return []; } };
"""
_SHOWN = """
  const shown = (e) => e.checkVisibility({checkOpacity: true, checkVisibilityCSS: true})
    && e.getBoundingClientRect().width > 0 && e.getBoundingClientRect().height > 0;
"""

PICK = """
  const labelled = (e) => [...(e.labels || [])].some(shown);
  const ranks = [shown, labelled, () => true];
  const same_rank = (boxes) => ranks.map((rank) => boxes.filter(rank)).find((some) => some.length) || [];
  const pick = (boxes) => same_rank(boxes)[0];
"""
"""A page's other layouts may have hidden switches: the one that a person sees is the form's."""

# Returns what a person clicks for the switch that the selectors find: the switch, its label, or the element drawn next
# to it in its place.
TOGGLE_SCRIPT = f"""
(selectors) => {{
  {_SHOWN}{_EVERY}{PICK}
  const box = pick(selectors.flatMap(every));
  if (!box) return null;
  const places = [box, ...(box.labels || []), box.closest("label"), box.nextElementSibling, box.previousElementSibling];
  const other = "form, a[href], input:not([type=checkbox]), select, button:not([role=switch])";
  const found = places.find((e) => e && shown(e) && !e.matches(other) && !e.querySelector(other));
  return found || null;
}}
"""

# Clicks the switch although it is hidden: its page notices it like a person's click.
TOGGLE_BY_SCRIPT = f"""
(selectors) => {{
  {_SHOWN}{_EVERY}{PICK}
  pick(selectors.flatMap(every)).click();
}}
"""

# Returns the button that sends a field: its form's submit button, otherwise the first one of the nearest part with one.
BUTTON_SCRIPT = f"""
(field) => {{
  {_SHOWN}
  const ways = "button:not([type=button]), [type=submit]", any = "button, [type=button], [role=button]";
  const first = (e, s) => [...e.querySelectorAll(s)].find((b) => shown(b) && !b.matches(":disabled")) || null;
  if (field.form) return first(field.form, ways) || first(field.form, any);
  for (let e = field.parentElement; e; e = e.parentElement) {{
    // The button of the password's form would send the password once more.
    if ([...e.querySelectorAll("input[type=password]")].some((one) => one !== field && shown(one))) return null;
    const found = first(e, ways) || first(e, any);
    if (found) return found;
  }}
  return null;
}}
"""

# Hides what covers an element and returns its words; null if nothing does.
UNCOVER_SCRIPT = """
(target) => {
  target.scrollIntoView({block: "center"});
  const box = target.getBoundingClientRect();
  const root = target.getRootNode();
  let cover = root.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
  if (!cover || cover.contains(target) || target.contains(cover)) return null;
  while (cover.parentElement && !cover.parentElement.contains(target)) cover = cover.parentElement;
  const words = cover.innerText.replace(/\\s+/g, " ").trim().slice(0, 120);
  cover.style.setProperty("display", "none", "important");
  return words;
}
"""

_ENTRIES = f"""
  {_SHOWN}
  const words = (e) => e.innerText.replace(/\\s+/g, " ").trim();
  const native = list.tagName === "SELECT" ? list : list.querySelector("select");
  const known = native ? [...native.options].filter((o) => o.value).map((o) => [o.value, o.label.trim()]) : [];
  const value = (e) => {{
    const own = e.dataset.value || e.getAttribute("value");
    const same = known.find(([, label]) => label.toLowerCase() === words(e).toLowerCase());
    return own || (same ? same[0] : words(e));
  }};
  // The innermost elements with words: the elements around them are the list, or a group in it.
  const entries = () => [...list.querySelectorAll("*")].filter((e) => !e.closest("select, script, style") && shown(e)
    && words(e) && ![...e.children].some((c) => shown(c) && words(c)));
"""

# Returns value and label of each entry of a list, native or made of other elements.
OPTIONS_SCRIPT = f"""
(list) => {{
  {_ENTRIES}
  if (list.tagName === "SELECT") return known;
  return entries().map((e) => [value(e), words(e)]);
}}
"""

# Returns the entry with this value in a list made of other elements; null for a native list.
CHOICE_SCRIPT = f"""
(list, wanted) => {{
  {_ENTRIES}
  if (list.tagName === "SELECT") return null;
  return entries().find((e) => value(e) === wanted) || null;
}}
"""
