"""Pages that once broke a law, each in its simplest form: the grammar's finds, by name."""

from __future__ import annotations

from page_grammar import Ending, Factor, Load, Markup, Offer, Profile, Spec, Switch, Wire

_NEW = Markup("unknown", by="label")
_AFTER_START = Profile(first_after_start=True)
_AFTER_START_WORKED = Profile(first_after_start=True, worked=True)

CASES = {
    "the plainest page": Spec(),
    # The mode.
    "a switch that is a button and off": Spec(_NEW, Switch("switch")),
    "a switch that is a button and on": Spec(_NEW, Switch("switch", at_first="paper"), profile=Profile(mode="live")),
    # The demo page.
    "a form that stays filled after a start": Spec(wire=Wire(temper="filled"), profile=_AFTER_START),
    "a form that is cleared after a start": Spec(wire=Wire(temper="cleared"), profile=_AFTER_START),
    "a page that reloads itself after a start": Spec(wire=Wire(temper="reloads"), profile=_AFTER_START),
    "a swallowed form beside telemetry": Spec(wire=Wire(temper="swallowed", telemetry="click"), profile=_AFTER_START),
    "a form that stays filled in spite of the demo page": Spec(
        wire=Wire(temper="filled", demos=2), profile=_AFTER_START_WORKED
    ),
    "a demo page that helps the second time only": Spec(
        load=Load(cover="banner goes"), wire=Wire(temper="reloads", demos=2), profile=_AFTER_START_WORKED
    ),
    # Texts.
    "a lock told beside the field": Spec(ending=Ending("locked", error="feedback", form="cleared")),
    "a refusal without a mark": Spec(ending=Ending("refused", error="plain")),
    "illness told beside a new form": Spec(
        Markup("two-step", username_stays=False),
        Switch("none"),
        wire=Wire(answer_ms=1200, transport="document"),
        ending=Ending("ill", error="both", stands_ms=3000, form="cleared"),
    ),
    "an error that goes": Spec(ending=Ending("unknown_text", error="danger", stands_ms=1500, form="cleared")),
    "illness that goes beside a form that stays": Spec(ending=Ending("ill", error="role", stands_ms=1500)),
    "a logout beside telemetry": Spec(wire=Wire(telemetry="always"), ending=Ending("logged_out")),
    "a banner from before beside a silent form": Spec(
        Markup("two-step", username_stays=False),
        load=Load(cover="banner"),
        wire=Wire(transport="document"),
        ending=Ending("silent"),
    ),
    "an offer beside telemetry": Spec(
        wire=Wire(telemetry="always"), offer=Offer("unknown"), profile=_AFTER_START_WORKED
    ),
    "an offer in a frame": Spec(Markup("unknown", inside="frame"), Switch("none"), offer=Offer("unknown")),
    # Codes and devices.
    "an approval that never comes, on a page of no known version": Spec(
        Markup("unknown"), Switch("none"), factor=Factor("push", push="never"), profile=Profile(method="push")
    ),
    "an announcement beside an approval, on a page of no known version": Spec(
        Markup("unknown"),
        Switch("none"),
        load=Load(announces_after_ms=400),
        factor=Factor("push", push="never"),
        profile=Profile(method="push"),
    ),
    "an approval in a frame": Spec(
        Markup("unknown", inside="frame"),
        Switch("none"),
        factor=Factor("push", push_ms=3000),
        profile=Profile(method="push"),
    ),
    "a code that Enter does not send": Spec(factor=Factor("app", enter_sends=False)),
    "boxes that Enter does not send": Spec(factor=Factor("app", field="boxes", enter_sends=False)),
    "an announcement beside a code that Enter does not send": Spec(
        load=Load(announces_after_ms=400), factor=Factor("app", enter_sends=False)
    ),
    "a wrong code on a page that is new each time": Spec(
        _NEW,
        Switch("none"),
        wire=Wire(transport="document"),
        factor=Factor("app", ("app",), list_as="divs", field="otp", wrong="always", error="role"),
    ),
    "one device that is a passkey": Spec(_NEW, Switch("none"), factor=Factor("passkey", ("passkey",))),
    "one device that is drawn": Spec(
        Markup("legacy"), factor=Factor("push", ("ibkey",), list_as="divs"), profile=Profile(method="push")
    ),
    "a banner that is the answer after an offer": Spec(
        Markup("unknown"),
        Switch("none"),
        factor=Factor("app"),
        offer=Offer("unknown", before_factor=False),
        ending=Ending("banner", after_factor=True),
    ),
    "illness behind a question, after a demo page that helped the second time": Spec(
        wire=Wire(temper="cleared", demos=2),
        factor=Factor("app"),
        ending=Ending("banner", after_factor=True),
        profile=_AFTER_START_WORKED,
    ),
    "an approval that never comes, on a page that is new each time": Spec(
        Markup("legacy"),
        wire=Wire(transport="document"),
        factor=Factor("push", ("ibkey",), list_as="divs", push="never"),
        profile=Profile(method="push"),
    ),
    "what comes at once behind an offer": Spec(
        offer=Offer(way="Skip", before_factor=False),
        ending=Ending("logged_out", stands_ms=3000, late_ms=300, form="reloads", body=False, after_factor=True),
        profile=Profile(method="totp"),
    ),
    "a passkey at once behind an offer": Spec(
        Markup("unknown", by="autocomplete"),
        Switch("none"),
        wire=Wire(answer_ms=200, transport="document"),
        factor=Factor("passkey"),
        offer=Offer(way="Maybe later"),
        profile=Profile(method="auto", worked=True),
    ),
    "a page behind an offer that never comes": Spec(
        wire=Wire(transport="document"),
        offer=Offer(way="Skip", before_factor=False),
        ending=Ending("spin", after_factor=True),
    ),
    "a page of words beside an announcement": Spec(
        load=Load(announces_after_ms=1500),
        ending=Ending("attention", stands_ms=3000, late_ms=300, form="reloads", body=False),
    ),
    "an approval beside a newsletter's field": Spec(
        Markup("unknown", by="aria", decoys=("hidden", "newsletter")),
        Switch("none"),
        factor=Factor("push", list_as="cards", push="never"),
        profile=Profile(method="auto"),
    ),
    "a banner that is the answer, where the password has worked": Spec(
        ending=Ending("banner"), profile=_AFTER_START_WORKED
    ),
    # Found by 3,000 pages.
    "an unknown offer behind an approved notification": Spec(
        factor=Factor("push", push_ms=3000),
        offer=Offer(look="unknown", way="Remind me later", before_factor=False),
        profile=Profile(method="auto"),
    ),
    "words behind an approved notification": Spec(
        factor=Factor("push", push_ms=3000),
        ending=Ending("attention", after_factor=True),
        profile=Profile(method="auto"),
    ),
    "a notification denied before its panel was seen": Spec(
        Markup("unknown", by="wrap", language="it", button="role", decoys=("hidden", "search"), lazy=True),
        Switch("tab", at_first="paper", clears=True),
        factor=Factor(
            "push", ("sms", "app", "ibkey"), list_as="divs", list_needs_button=True, error="aria", push="denied"
        ),
        profile=Profile(method="push"),
    ),
    "a search box beside a notification": Spec(
        Markup("unknown", by="autocomplete", decoys=("search",)),
        factor=Factor("push", error="role", push="denied", push_ms=3000),
        profile=Profile(method="auto"),
    ),
    "a cover over the button of a code on an unknown page": Spec(
        Markup("unknown", by="wrap", inside="frame", in_form=False),
        Switch("none"),
        load=Load(cover="banner"),
        wire=Wire(transport="document"),
        factor=Factor("app", field="placeholder", enter_sends=False, wrong="always", error="plain"),
    ),
    "a cover over a switch that is not to be seen": Spec(
        Markup("two-step"),
        Switch("wrapped", at_first="paper"),
        load=Load(cover="banner"),
        factor=Factor("passkey"),
        profile=Profile(mode="live", worked=True),
    ),
    "words that go and say that IBKR is down": Spec(
        Markup("unknown", by="wrap", inside="frame"),
        Switch("none"),
        ending=Ending("ill", error="plain", stands_ms=3000),
    ),
    "an announcement beside the words behind a code": Spec(
        load=Load(announces_after_ms=1500),
        wire=Wire(answer_ms=1200, transport="document", temper="filled"),
        factor=Factor("sms", error="feedback"),
        ending=Ending("logged_out", after_factor=True),
        profile=Profile(first_after_start=True),
    ),
    # The form.
    "fields emptied while the button is off": Spec(
        load=Load(empties_after_ms=700, disabled_ms=2000, disabled_while_empty=True)
    ),
    "fields emptied before the click": Spec(
        Markup("legacy"), load=Load(form_after_ms=1200, empties_after_ms=700, disabled_while_empty=True)
    ),
    "fields emptied by the click": Spec(load=Load(first_press_empties=True)),
    "fields emptied by the click, the button off": Spec(
        load=Load(first_press_empties=True, disabled_while_empty=True), switch=Switch("none")
    ),
    "a cookie dialog in a frame": Spec(Markup("unknown", inside="frame"), Switch("none"), load=Load(cover="cookie")),
    "a cover in a shadow root": Spec(Markup("unknown", inside="shadow"), Switch("none"), load=Load(cover="cover")),
    "IBKR fails while it waits for the approval": Spec(
        factor=Factor("push"), ending=Ending("status", after_factor=True), profile=Profile(method="push")
    ),
}
