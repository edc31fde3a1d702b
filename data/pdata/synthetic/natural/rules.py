"""Rules with one condition or two: what they are about, their wordings, questions about them."""

from dataclasses import dataclass

from pdata.synthetic.natural.lexicon import PEOPLE
from pdata.synthetic.natural.worlds import Quantity


@dataclass(frozen=True, slots=True)
class World:
    """What the cases are; a bound is "at most" unless its quantity is one of `least`."""

    noun: str
    plural: str
    kind: str
    quantities: tuple[Quantity, Quantity]
    least: tuple[str, ...]
    passes: str  # what a case does that satisfies the rule


def _q(name: str, unit: str, low: int, high: int, places: int = 0) -> Quantity:
    return Quantity(name, name, unit, low, high, places)


WORLDS = (
    World("parcel", "parcels", "Parcel {#}",
          (_q("weight", " kg", 11, 94, 1), _q("length", " cm", 15, 140)), (), "can be sent"),
    World("applicant", "applicants", PEOPLE,
          (_q("age", "", 16, 45), _q("score", " points", 30, 98)), ("age", "score"),
          "is accepted"),
    World("room", "rooms", "Room {#}",
          (_q("area", " m²", 12, 60), _q("rent", " euros", 210, 890)), ("area",), "is suitable"),
    World("hotel", "hotels", "Hotel {}",
          (_q("price", " euros", 40, 240), _q("rating", "", 21, 49, 1)), ("rating",),
          "is good enough"),
    World("machine", "machines", "Machine {#}",
          (_q("load", " %", 12, 97), _q("temperature", " °C", 25, 95)), (), "may go on running"),
    World("laptop", "laptops", "{}",
          (_q("weight", " kg", 11, 34, 1), _q("battery life", " hours", 4, 22)),
          ("battery life",), "is worth buying"),
    World("dish", "dishes", "Dish {#}",
          (_q("cooking time", " minutes", 10, 95), _q("price", " euros", 310, 980, 2)), (),
          "goes on the menu"),
    World("plant", "plants", "{} Fern",
          (_q("height", " cm", 12, 95), _q("water use", " ml", 50, 450)), ("height",),
          "goes to the shop"),
    World("athlete", "athletes", PEOPLE,
          (_q("sprint time", " seconds", 112, 159, 1), _q("jump", " cm", 410, 690)), ("jump",),
          "goes to the final"),
    World("campsite", "campsites", "Camp {}",
          (_q("distance", " km", 11, 95, 1), _q("fee", " euros", 5, 38)), (),
          "comes into question"),
    World("volunteer", "volunteers", PEOPLE,
          (_q("age", "", 15, 60), _q("free time", " hours", 2, 20)), ("age", "free time"),
          "can join"),
    World("water sample", "water samples", "Sample {#}",
          (_q("nitrate content", " mg/l", 11, 84, 1), _q("temperature", " °C", 51, 249, 1)), (),
          "is safe"),
    World("flight", "flights", "Flight {#}",
          (_q("delay", " minutes", 3, 95), _q("occupancy", " %", 40, 99)), ("occupancy",),
          "stays in the timetable"),
    World("shop", "shops", "{}",
          (_q("turnover", " thousand euros", 110, 890), _q("share of returns", " %", 3, 48)),
          ("turnover",), "gets the bonus"),
    World("day", "days", "Day {#}",
          (_q("wind speed", " km/h", 5, 70), _q("rainfall", " mm", 2, 40)), (),
          "is fit for sailing"),
    World("borrower", "borrowers", PEOPLE,
          (_q("income", " euros", 910, 4900), _q("debt", " euros", 120, 990)), ("income",),
          "gets the loan"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sides:
    """How a rule says that a number is on the right side of {b}; strict: {b} itself is not."""

    most: str
    least: str
    strict: bool = False


SIDES = (
    Sides("at most {b}", "at least {b}"), Sides("no more than {b}", "no less than {b}"),
    Sides("not above {b}", "not below {b}"), Sides("{b} or less", "{b} or more"),
    Sides("{b} at the most", "{b} at the least"), Sides("not over {b}", "not under {b}"),
    Sides("less than {b}", "more than {b}", strict=True),
    Sides("{b} or lower", "{b} or higher"), Sides("up to {b}", "{b} and up"),
    Sides("{b} at most", "{b} at least"), Sides("a maximum of {b}", "a minimum of {b}"),
    Sides("below {b}", "above {b}", strict=True), Sides("under {b}", "over {b}", strict=True),
    Sides("not higher than {b}", "not lower than {b}"),
    Sides("lower than {b}", "higher than {b}", strict=True),
    Sides("not more than {b}", "not less than {b}"),
)  # fmt: skip
# {x}, {y}: quantities; {X}, {Y}: what they must be; {w}: what then happens
RULES = (
    "{An} {w} if {its} {x} is {X} and {its} {y} is {Y}.",
    "The rule says: {an} {w} when the {x} is {X} and the {y} is {Y}.",
    "{An} {w} only with {ax} of {X} and {ay} of {Y}.",
    "Here is the rule. If the {x} is {X} and the {y} is {Y}, {an} {w}.",
    "Two conditions must hold before {an} {w}: {x} {X}, {y} {Y}.",
    "Any {n} {w}, provided that {its} {x} is {X} and {its} {y} {Y}.",
    "We check two things: the {x}, which must be {X}, and the {y}, which must be {Y}. "
    "{An} {w} with both.",
    "For {an} to pass, the {x} has to be {X} and the {y} has to be {Y}.",
    "Conditions: (1) {x} {X}; (2) {y} {Y}. {An} {who} meets both {w}.",
    "According to the manual, {an} {w} if the {x} is {X} and the {y} is {Y}.",
    "Every {n} with {ax} of {X} and {ay} of {Y} {w}.",
    "Our policy: {x} {X} and {y} {Y}. Only in this case {an} {w}.",
    "What we require is {ax} of {X} together with {ay} of {Y}; such {an} {w}.",
    "The office asks for {ax} of {X} and {ay} of {Y}. With both of them {an} {w}.",
    "{An} passes the test and {w} if the {x} is {X} and, besides, the {y} is {Y}.",
    "Please apply this rule: {x} {X}, {y} {Y}, otherwise {an} is turned down.",
)
EASY_RULES = (
    "{An} {w} if {its} {x} is {X}.", "The rule says: {an} {w} when the {x} is {X}.",
    "The {x} must be {X}; with that, {an} {w}.", "Every {n} with {ax} of {X} {w}.",
    "Only one thing counts: {an} {w} if the {x} is {X}.",
    "Condition: {x} {X}. {An} {who} meets it {w}.", "{An} {w} only with {ax} of {X}.",
    "Please apply this rule: {x} {X}, otherwise {an} is turned down.",
)  # fmt: skip
QUESTIONS = {
    "fails": ("Which is the only one that fails?", "Just one of the {p} fails. Which?",
              "Name the {n} {who} does not pass.", "Which {n} is turned down?",
              "All but one of the {p} pass. Which one fails?",
              "Find the {n} {who} breaks the rule.", "Which of the {p} does not meet the rule?",
              "Point out the one {n} {who} fails."),
    "passes": ("Which is the only one that passes?", "Just one of the {p} passes. Which?",
               "Name the {n} {who} passes.", "Which {n} meets the rule?",
               "All but one of the {p} fail. Which one passes?",
               "Find the {n} {who} keeps the rule.", "Which of the {p} is fine?",
               "Point out the one {n} {who} passes."),
    "all": ("Do all of the {p} pass?", "Is it true that every {n} passes?",
            "Does each of the {p} meet the rule?", "Can we say that all {p} pass?",
            "Are all {p} fine by this rule?", "Tell me whether all {p} pass.",
            "Do all {p} keep to the rule?", "Does every single {n} pass?"),
    "count": ("How many of the {p} pass?", "How many {p} meet the rule?",
              "Count the {p} {who} pass.", "What is the number of {p} {who} pass?",
              "Tell me how many {p} pass.", "For how many {p} does the rule hold?",
              "How many of them are fine?", "Find out how many {p} keep the rule."),
}  # fmt: skip
