"""Scripts that run in the page for the login's actions: they find what a person would click."""

from __future__ import annotations

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
