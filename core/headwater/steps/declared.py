"""What a step declares: `Use` for what it reads, `Log` for what it makes.

    @hw.step(log=hw.Log("cnn", type="model", aliases=["candidate"]))
    def train(data: Path = hw.Use("mnist:latest")) -> Path: ...

Both are plain, frozen, picklable values that say what is meant and do nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from headwater.errors import InvalidInputError
from headwater.model.naming import check_alias, check_part, parse_name


class Use:
    """An input that the step fetches itself, instead of its caller.

    As a default (`x: Path = hw.Use("mnist:latest")`) or in the annotation
    (`x: Annotated[Path, hw.Use("mnist:latest")]`). The parameter gets the value, loaded as its
    annotation says, or the handle where the annotation is `Version` or absent. A caller who passes
    the argument wins. To type checkers it is `Any`, so that it may be the default of any parameter.

    Args:
        name: What to use: `artifact`, `project/artifact:alias`, `:v3` or `@blake3:…`.
        role: What it is to the step, written on the lineage edge; the parameter's name if left out.
        fresh: Ask again, instead of reading what this group first resolved the name to.

    Raises:
        InvalidInputError: The name cannot be one.
    """

    __slots__ = ("fresh", "name", "role")

    name: str
    role: str | None
    fresh: bool

    def __new__(cls, name: str, *, role: str | None = None, fresh: bool = False) -> Any:
        """Declared to give `Any`: `data: Path = hw.Use(…)` must type."""
        parse_name(name)
        self = object.__new__(cls)
        for slot, value in (("name", name), ("role", role), ("fresh", fresh)):
            object.__setattr__(self, slot, value)
        return self

    @property
    def __headwater_name__(self) -> str:
        """What pydantic resolves where a flow's or DAG's parameter is a `Version` and this its default."""
        return self.name

    @property
    def __pydantic_serializer__(self) -> Any:
        """As a default, forms show its name."""
        from pydantic_core import SchemaSerializer, core_schema  # only pydantic asks

        text = core_schema.plain_serializer_function_ser_schema(lambda use: use.name)
        return SchemaSerializer(core_schema.any_schema(serialization=text))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Use is frozen; make another one instead of setting {name}")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__reduce__() == self.__reduce__()

    def __hash__(self) -> int:
        return hash((self.name, self.role, self.fresh))

    def __repr__(self) -> str:
        role = f", role={self.role!r}" if self.role else ""
        return f"Use({self.name!r}{role}{', fresh=True' if self.fresh else ''})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_use, (type(self), self.name, self.role, self.fresh))


def _use(cls: type[Use], name: str, role: str | None, fresh: bool) -> Any:  # noqa: FBT001 - pickle passes positions
    return cls(name, role=role, fresh=fresh)


@dataclass(frozen=True, slots=True)
class Log:
    """One declared result: what the step returns becomes a version of this artifact.

    Args:
        name: `artifact`, `project/artifact`, either with a `[partition]`; no alias and no version.
        type: The artifact's type; when left out that of the value, or of the artifact it is already.
        aliases: Moved to the version when it is published.
        tags: Put on the version.
        metadata: JSON facts about the version.
        description: For people.
        role: What it is to the step, written on the lineage edge; with `log={"train": …}` the key.
        allow_pickle: Whether a value that no codec knows may be pickled; reading it back must allow that too.

    Raises:
        InvalidInputError: A name, alias or tag that cannot be one.
    """

    name: str
    type: str | None = field(default=None, kw_only=True)
    aliases: Sequence[str] = field(default=(), kw_only=True)
    tags: Sequence[str] = field(default=(), kw_only=True)
    metadata: Mapping[str, Any] | None = field(default=None, kw_only=True, hash=False)
    description: str = field(default="", kw_only=True)
    role: str | None = field(default=None, kw_only=True)
    allow_pickle: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        check_target(self.name)
        for what in ("aliases", "tags"):
            if isinstance(getattr(self, what), str):
                raise InvalidInputError(what=f"{what} is a list of texts, not one text", where=f"Log({self.name!r})")
            object.__setattr__(self, what, tuple(getattr(self, what)))
        for alias in self.aliases:
            check_alias(alias)
        for tag in self.tags:
            check_part(tag, "tag")


def check_target(name: str) -> str:
    """Return `name` if versions can be logged under it.

    Raises:
        InvalidInputError: Not a name, or it says which version, which is Headwater's to number.
    """
    parsed = parse_name(name)
    if parsed.alias or parsed.digest or parsed.number is not None or parsed.path:
        raise InvalidInputError(
            what=f"{name!r} says which version", fix="log under the artifact's name, and give aliases=[…]"
        )
    return name


Out: TypeAlias = str | Log
"""One declared result: a name, or a name with options."""

Shape: TypeAlias = Literal["nothing", "one", "tuple", "mapping"]


@dataclass(frozen=True, slots=True)
class Outputs:
    """The declared results of a step, and the shape in which it returns them."""

    shape: Shape
    logs: tuple[Log, ...] = ()
    keys: tuple[str, ...] = ()
    """Of a mapping: the key of each log."""

    def split(self, result: Any, step: str) -> list[Any]:
        """The value for each log, in order.

        Raises:
            InvalidInputError: The step returned another shape, other keys, or another number of values.
        """
        if self.shape == "one":
            return [result]
        if self.shape == "tuple":
            return self._split_tuple(result, step)
        return self._split_mapping(result, step) if self.shape == "mapping" else []

    def join(self, handles: Sequence[Any]) -> Any:
        """What the caller gets: one handle, a tuple or a dict of them."""
        if self.shape == "one":
            return handles[0]
        return tuple(handles) if self.shape == "tuple" else dict(zip(self.keys, handles))

    def _split_tuple(self, result: Any, step: str) -> list[Any]:
        if not isinstance(result, tuple | list) or len(result) != len(self.logs):
            got = f"{len(result)} values" if isinstance(result, tuple | list) else f"a {type(result).__qualname__}"
            raise InvalidInputError(
                what=f"{step} declares {len(self.logs)} results and returned {got}", fix="return a tuple of that length"
            )
        return list(result)

    def _split_mapping(self, result: Any, step: str) -> list[Any]:
        if not isinstance(result, Mapping) or set(result) != set(self.keys):
            got = sorted(map(str, result)) if isinstance(result, Mapping) else f"a {type(result).__qualname__}"
            raise InvalidInputError(
                what=f"{step} declares the results {sorted(self.keys)} and returned {got}",
                fix="return a mapping with exactly these keys",
            )
        return [result[key] for key in self.keys]


NOTHING = Outputs("nothing")


def read_outputs(log: Out | tuple[Out, ...] | Mapping[str, Out] | None) -> Outputs:
    """Read `log=` in any of its forms: `"a"`, `Log("a")`, `("a", "b")`, `{"train": "a"}`, None.

    Raises:
        InvalidInputError: None of these forms, empty, or one name declared twice.
    """
    if log is None:
        return NOTHING
    if isinstance(log, str | Log):
        return Outputs("one", (_as_log(log),))
    if isinstance(log, Mapping) and log:
        logs = tuple(_as_log(out, role=str(key)) for key, out in log.items())
        return _distinct(Outputs("mapping", logs, tuple(log)))
    if isinstance(log, tuple | list) and log:
        return _distinct(Outputs("tuple", tuple(_as_log(out) for out in log)))
    raise InvalidInputError(
        what=f"log={log!r} declares nothing that can be logged", fix='write log="a", ("a", "b") or {"key": "a"}'
    )


def _as_log(out: Out, role: str | None = None) -> Log:
    if isinstance(out, str):
        return Log(out, role=role)
    if not isinstance(out, Log):
        raise InvalidInputError(what=f"{out!r} is not a name or a Log", where="log=")
    return out if out.role is not None or role is None else replace(out, role=role)


def _distinct(outputs: Outputs) -> Outputs:
    names = [log.name for log in outputs.logs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidInputError(what=f"{twice[0]!r} is declared twice", where="log=")
    return outputs
