"""A talk of forty subtitles, and what people ask about it."""

from __future__ import annotations

from tests.extractors.cues.rendering import Line

_TEXTS = (
    "Good morning everyone, and thank you for coming.",
    "My name is Maria Lopez and I run the city library.",
    "Today I want to talk about three things.",
    "First, how many people visit us each week.",
    "Last year we counted twelve thousand visitors in March alone.",
    "Most of them were students who needed a quiet place to study.",
    "The second thing is the budget for next year.",
    "We asked the council for four million and got three.",
    "So we have to save on heating and on new books.",
    "The roof of the old building leaks when it rains.",
    "Repairs will start in June and take about six weeks.",
    "During that time the reading room stays closed.",
    "You can still borrow novels at the front desk.",
    "Let me show you a photograph of the new children's corner.",
    "It has soft chairs, low shelves and a wooden ship.",
    "Parents told us that their kids love the ship.",
    "We also bought a telescope for the astronomy club.",
    "They meet on the terrace every second Friday to watch the stars.",
    "Our website now works on phones, too.",
    "You can renew your loans with two taps.",
    "If you forget your password, click on the link below the form.",
    "We do not sell your data to anybody.",
    "The third thing is our volunteers.",
    "Without them we could not open on Sundays.",
    "John has been repairing damaged covers for eleven years.",
    "Please give him a round of applause.",
    "We are looking for people who can teach German or Arabic.",
    "No experience is needed, we will train you.",
    "There was a small fire in the kitchen in August.",
    "Nobody was hurt, but the coffee machine did not survive.",
    "The alarm went off and everyone left the building calmly.",
    "Since then we test the sprinklers every month.",
    "Cats are not allowed in the library, even friendly ones.",
    "Guide dogs are of course welcome.",
    "In the summer we lend bicycles to members.",
    "Helmets cost two euros per day.",
    "Any questions so far?",
    "Yes, the gentleman in the third row.",
    "The car park behind the station is free after six.",
    "Thank you very much and have a safe journey home.",
)

LECTURE = tuple(Line(4.0 * at + 0.25, 4.0 * at + 3.75, text) for at, text in enumerate(_TEXTS))
"""A subtitle every four seconds."""

DURATION_S = 160

BY_WORDS = {
    "the budget": 6,
    "coffee machine": 29,
    "Maria Lopez": 1,
    "four million": 7,
    "wooden ship": 14,
    "REPAIRS WILL START IN JUNE": 10,
    "astronomy club": 16,
    "two taps": 19,
    "sprinklers": 31,
    "guide dog": 33,
    "bicycle": 34,
    "german": 26,
    "your password": 20,
    "car park": 38,
    "volunteer": 22,
    "round of applause": 25,
    "reading room": 11,
    "leaking roof": 9,
    "third row": 37,
    "safe journey": 39,
}
"""Words that are said, in this form or in another, and the subtitle in which they are."""

BY_MEANING = {
    "how much money they received": (6, 7),
    "a blaze broke out": (28,),
    "pets are forbidden": (32,),
    "where to leave your vehicle": (38,),
    "she introduces herself": (1, 0),
    "saying goodbye to the audience": (39,),
    "water comes through the ceiling": (9,),
    "observing the night sky": (17, 16),
    "learning a foreign language": (26,),
    "renting a bike": (34,),
    "privacy of personal information": (21,),
    "number of people who came": (4, 3),
    "lost login credentials": (20,),
    "furniture for toddlers": (14, 13),
    "extend the lending period online": (19,),
    "unpaid helpers": (22, 23),
    "evacuation": (30,),
    "learners looking for silence": (5,),
    "he mends old bindings": (24,),
    "clap your hands for him": (25,),
}
"""What is meant in other words, and the subtitles that mean it."""
