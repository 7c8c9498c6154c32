"""The shape of an explanation, as it is written and documented."""

from pydantic import BaseModel, Field

from orchestrator.schemas import RecommendResponse


class Retrieval(BaseModel):
    """How retrieval found the item; `similarity` is null when the second look did not find it again."""

    rank: int = Field(ge=1)
    similarity: float | None


class Contribution(BaseModel):
    """What one feature added to the log-odds, and the value that it had; null is a missing value."""

    feature: str
    value: float | None
    contribution: float


class Contributions(BaseModel):
    """One objective of one item: bias + every feature's contribution = `log_odds`, and its sigmoid is the score."""

    bias: float
    features: list[Contribution] = Field(description="the largest ones by their absolute value")
    others: float = Field(description="the sum of all other features' contributions")
    log_odds: float


class BlendTerms(BaseModel):
    """What each objective, times its weight, adds to the blend; `revenue` is that of ctr × cvr × price."""

    relevance: float
    ctr: float
    cvr: float
    revenue: float


class ExplainedItem(BaseModel):
    """One shown item: score = (sum of the blend's terms) × freshness. Without a ranker there is no blend."""

    item_id: str
    retrieval: Retrieval
    blend: BlendTerms | None
    freshness: float | None
    score: float | None
    rank_by_score: int = Field(ge=1, description="among the items that may be shown, before the spread of categories")
    rank: int = Field(ge=1)
    contributions: dict[str, Contributions] | None = Field(description="by objective; null: see `unexplained`")


class Hidden(BaseModel):
    """How many candidates each rule alone would hide; one that several rules hide counts for each."""

    stock: int
    safety: int
    region: int
    recently_shown: int
    excluded: int


class Moved(BaseModel):
    """An item that the spread of categories moved down; with `rank` beyond those asked for it is not shown."""

    item_id: str
    rank_by_score: int
    rank: int


class Explanation(BaseModel):
    """Why the answer is what it is. Nothing of it was counted, logged or shown to the user."""

    level: str = Field(description="the rung that answered")
    candidates: int = Field(description="how many were retrieved")
    hidden: Hidden
    eligible: int = Field(description="candidates that no rule hides")
    moved: list[Moved]
    items: list[ExplainedItem]
    unexplained: str | None = Field(
        description="why some or all items have no contributions: not_ranked, no_model, late, unavailable, …"
    )
    difference: float | None = Field(
        description="largest difference between a served score and the sigmoid of its contributions' sum"
    )
    timings: dict[str, float] = Field(description="ms by stage; the explanation's own begin with explain_")


class ExplainedResponse(RecommendResponse):
    """The answer; with `?explain=true` also why."""

    explanation: Explanation | None = Field(default=None, description="only when asked for")
