"""``on_error``: what each class of error leads to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flowrun.document import Map, Node
from flowrun.errors import ERROR_CLASSES
from flowrun.flow import words
from flowrun.flow.model import Policy, Retry
from flowrun.flow.reading import Reader


class PolicyReader:
    """alerts: the channels of flowrun.yaml."""

    def __init__(self, reader: Reader, alerts: Mapping[str, Any]) -> None:
        self.reader = reader
        self.alerts = alerts

    def read(
        self, node: Node | None, flow: str, defaults: Mapping[str, Policy], raised: frozenset[str]
    ) -> dict[str, Policy]:
        """The flow's policies in file order, then those of flowrun.yaml for the classes it does not name; ``other`` is
        always there. raised: classes that the flow's systems can raise."""
        found = self.classes(node)
        own = set(found)
        for name, policy in defaults.items():
            if name != "other":
                found.setdefault(name, policy)
        if "other" in defaults:
            found.setdefault("other", defaults["other"])
        if "other" not in found:
            missing = sorted(raised - set(found))
            if node is not None and missing and not self._broken(node, own):
                self.reader.say(
                    "FR161",
                    f"no policy for: {', '.join(missing)}",
                    self.reader.head(node),
                    severity="lint",
                    help="add other: { dead_letter: …, alert: … }; without it they become dead letters",
                )
            found["other"] = Policy(dead_letter=flow)
        return found

    def _broken(self, node: Node, own: set[str]) -> bool:
        keys = {entry.key.text for entry in self.reader.entries(node, "'on_error'")}
        return bool(keys - own)

    def queues(self, policies: Mapping[str, Policy]) -> Sequence[str]:
        return list(dict.fromkeys(p.dead_letter for p in policies.values() if p.dead_letter))

    def classes(self, node: Node | None) -> dict[str, Policy]:
        """The policies of one ``on_error`` box."""
        r = self.reader
        found: dict[str, Policy] = {}
        for entry in r.entries(node, "'on_error'"):
            name = entry.key.text
            if name not in ERROR_CLASSES:
                help = f"classes: {', '.join(ERROR_CLASSES)}"
                r.say_unknown("FR160", f"there is no error class '{name}'", entry.key, name, ERROR_CLASSES, help=help)
                continue
            policy = self._policy(entry.value)
            if policy is not None:
                found[name] = policy
        return found

    def _policy(self, node: Node) -> Policy | None:
        r = self.reader
        parts = r.box(node, words.POLICY, "a policy")
        if not parts:
            return None
        alert = r.text(parts.get("alert"), "alert")
        if alert and alert not in self.alerts:
            help = f"channels: {', '.join(self.alerts) or 'none'}"
            r.say_unknown(
                "FR179", f"flowrun.yaml has no alert channel '{alert}'", parts["alert"], alert, self.alerts, help=help
            )
        if "undo" in parts and isinstance(node, Map):
            at = node.index["undo"].key if "undo" in node.index else node
            r.say("FR023", "'undo' comes in a later version", at)
        retry = None
        if "retry" in parts:
            inner = r.box(parts["retry"], words.RETRY, "retry")
            times, wait, most = (
                r.count(inner.get("times"), "times"),
                r.duration(inner.get("wait"), "wait"),
                r.duration(inner.get("max_wait"), "max_wait"),
            )
            if times is not None and wait is not None and most is not None:
                retry = Retry(times, float(wait), float(most))
        return Policy(
            retry=retry,
            dead_letter=r.text(parts.get("dead_letter"), "dead_letter") or None,
            alert=alert or None,
            pause=r.word(parts.get("pause"), "pause", ("connection", "flow")) or None,
            flag=r.word(parts.get("flag"), "flag", ("review",)) or None,
            finish=r.word(parts.get("finish"), "finish", ("success",)) or None,
        )
