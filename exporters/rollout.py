"""Who answers whom, as pure steps from one traffic record to the next: `TrafficStore.change` writes what they return.

    publish → listed ── canary N at 5 % ── ramp … ── promote N ── refresh: the same arm on a newer generation
                              └─ rollback: canary gone   └─ rollback: the previous line, on its newest generation

Nothing is loaded or unloaded here, so each of them takes effect as fast as orchestrators follow the record.
"""  # fmt: skip

from collections.abc import Iterable

from exporters.errors import TrafficError
from exporters.traffic import new_salt, now
from model_repository.traffic import CANARY, CHAMPION, Action, Arm, Change, ServedRelease, Traffic

REMEMBERED = 20  # champions


def listed(before: Traffic | None, served: ServedRelease) -> Traffic:
    """The release is loaded: arms may be given to it. The first one ever becomes the champion."""
    change = _change("publish", f"release {served.release} is ready")
    if before is None:
        arms = (Arm(variant=CHAMPION, release=served.release, share=1.0),)
        champions = (served.release,)
        return Traffic(sequence=1, salt=new_salt(), arms=arms, releases=(served,), champions=champions, changed=change)
    others = tuple(other for other in before.releases if other.release != served.release)
    return _checked(before, releases=(*others, served), changed=change)


def promoted(before: Traffic, release: int, reason: str = "") -> Traffic:
    """All users to one release; a canary ends."""
    _require(before, release)
    if [arm.release for arm in before.arms] == [release]:
        raise TrafficError(f"release {release} carries all traffic already")
    return _checked(
        before,
        arms=(Arm(variant=CHAMPION, release=release, share=1.0),),
        champions=_crowned(before, release),
        changed=_change("promote", reason),
    )


def canaried(before: Traffic, release: int, share: float, reason: str = "") -> Traffic:
    """`share` in (0, 1) of the users to the canary; a growing share keeps those it has."""
    _require(before, release)
    if not 0 < share < 1:
        raise TrafficError(f"a canary takes more than 0 and less than 100 % of the users, not {100 * share:g} %")
    champion = _champion(before)
    if champion.release == release:
        raise TrafficError(f"release {release} is the champion; {_choice(before, besides=(release,))}")
    running = before.arm(CANARY)
    if running is not None and running.release != release:
        raise TrafficError(f"release {running.release} is the canary; promote it or roll it back first")
    arms = (
        Arm(variant=CHAMPION, release=champion.release, share=1.0 - share),
        Arm(variant=CANARY, release=release, share=share),
    )
    return _checked(before, arms=arms, changed=_change("canary", reason))


def rolled_back(before: Traffic, release: int | None = None, reason: str = "") -> Traffic:
    """Without `release`: the canary's users back to the champion, or, where none runs, all to the rollback target."""
    canary, champion = before.arm(CANARY), _champion(before)
    if release is None and canary is not None:
        release = champion.release
    target = rollback_target(before) if release is None else release
    if target is None:
        raise TrafficError("there is no earlier release to roll back to; " + _choice(before, (champion.release,)))
    _require(before, target)
    if target == champion.release and canary is None:
        raise TrafficError(f"release {target} carries all traffic already; {_choice(before, besides=(target,))}")
    arms = (Arm(variant=CHAMPION, release=target, share=1.0),)
    champions = before.champions if target == champion.release else _crowned(before, target)
    return _checked(before, arms=arms, champions=champions, changed=_change("rollback", reason))


def replaced(before: Traffic, old: int, new: ServedRelease, reason: str = "") -> Traffic:
    """A newer generation of the same line takes the older one's place: same arms, same shares."""
    was = before.served(old)
    if was is None or was.line != new.line:
        raise TrafficError(f"release {new.release} of line {new.line} is no newer generation of release {old}")
    others = tuple(other for other in before.releases if other.release != new.release)
    return _checked(
        before,
        arms=tuple(
            arm.model_copy(update={"release": new.release}) if arm.release == old else arm for arm in before.arms
        ),
        releases=(*others, new),
        champions=tuple(new.release if champion == old else champion for champion in before.champions),
        changed=_change("refresh", reason),
    )


def retired(before: Traffic, release: int) -> Traffic:
    """The release is no longer listed: nobody starts to use it from now on."""
    _require(before, release)
    if release in before.carried:
        raise TrafficError(f"release {release} carries traffic; promote another or roll back first")
    return _checked(
        before,
        releases=tuple(other for other in before.releases if other.release != release),
        champions=tuple(champion for champion in before.champions if champion != release),
        changed=_change("retire", f"release {release}"),
    )


def rollback_target(traffic: Traffic) -> int | None:
    """Where a rollback goes: the newest listed release of the line that was champion before this one's, else the
    champion before this one, else the generation before."""
    champion = _champion(traffic)
    current = traffic.served(champion.release)
    earlier = [traffic.served(n) for n in reversed(traffic.champions) if n != champion.release]
    known = [served for served in earlier if served is not None]
    other = next((served for served in known if current is not None and served.line != current.line), None)
    if other is not None:
        return max(served.release for served in traffic.releases if served.line == other.line)
    if known:
        return known[0].release
    return max((number for number in traffic.listed if number < champion.release), default=None)


def _champion(traffic: Traffic) -> Arm:
    champion = traffic.arm(CHAMPION)
    if champion is None:
        raise TrafficError(
            f"the record has no champion, only {[arm.variant for arm in traffic.arms]}; promote a release"
        )
    return champion


def _crowned(before: Traffic, release: int) -> tuple[int, ...]:
    """The champions with this one last; one that was champion before moves to the end."""
    return (*(n for n in before.champions if n != release), release)[-REMEMBERED:]


def _require(traffic: Traffic, release: int) -> None:
    if traffic.served(release) is None:
        raise TrafficError(f"release {release} is not published; {_choice(traffic)}")


def _choice(traffic: Traffic, besides: Iterable[int] = ()) -> str:
    valid = sorted(traffic.listed.difference(besides))
    return f"published are {valid}" if valid else "no other release is published"


def _change(action: Action, reason: str) -> Change:
    return Change(action=action, reason=reason, at=now())


def _checked(before: Traffic, **changes: object) -> Traffic:
    """The record with the changes, checked as one that is read."""
    return Traffic.model_validate(dict(before) | changes)
