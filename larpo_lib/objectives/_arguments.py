"""Arguments that several objectives have, with what their settings say of them."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

Beta = Annotated[
    PositiveFloat, Field(description="Scale of the log-ratios (of the log-probabilities in CPO and SimPO).")
]
Reduction = Annotated[Literal["sum", "mean"], Field(description="Sum the terms of a list, or take their mean.")]
ClipReference = Annotated[
    bool,
    Field(
        description="where the reference prefers the worse response, compare with one that prefers neither: the "
        "policy's lead alone then counts"
    ),
]
SftWeight = Annotated[
    NonNegativeFloat, Field(description="Weight of the best response's log-probability (in CPO of its NLL).")
]
