"""Whatever the steps, the answers and the moments at which it is killed: each step is done at most once, and exactly
once where its conditions hold."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from flowrun.errors import DeliveryUnknown, Refused, Unavailable
from tests.workflows.conftest import Bench
from tests.workflows.test_steps import Killed

SEAMS = ("read", "mapped", "intended", "answered", "asked", "settled")


class Tree:
    """Random steps. wanted: ids of the writes that are to be done."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.count = 0
        self.wanted: list[str] = []
        self.text = self._steps(2, "  ", True)

    def _steps(self, deep: int, indent: str, live: bool) -> str:
        return "".join(self._step(deep, indent, live) for _ in range(self.chance.randint(1, 3)))

    def _step(self, deep: int, indent: str, live: bool) -> str:
        self.count += 1
        name = f"s{self.count}"
        held = self.chance.random() < 0.8
        head = f"{indent}- id: {name}\n{indent}  when: it.id {'==' if held else '!='} '1'\n"
        live = live and held
        if deep and self.chance.random() < 0.3:
            first = self.chance.random() < 0.5
            inner = indent + "      "
            text = f"{head}{indent}  choose:\n{indent}    - when: it.id {'==' if first else '!='} '1'\n{indent}      steps:\n"
            text += self._steps(deep - 1, inner, live and first)
            text += f"{indent}    - otherwise: true\n{indent}      steps:\n"
            return text + self._steps(deep - 1, inner, live and not first)
        if self.chance.random() < 0.2:
            return f"{head}{indent}  read: {{ connection: from, object: things, find: {{ id: it.id }} }}\n"
        if live:
            self.wanted.append(name)
        key = f'{{ key: "{name}-{{{{ it.id }}}}", find_existing: ref }}'
        write = (
            f"connection: to, object: things, action: create, idempotency: {key}, map: {{ ref: {{ value: {name} }} }}"
        )
        return f"{head}{indent}  write: {{ {write} }}\n"


@given(st.integers(0, 10**9))
@settings(max_examples=40, deadline=None)
def test_each_step_is_done_once_where_its_conditions_hold(seed: int) -> None:
    chance = random.Random(seed)
    tree = Tree(chance)
    always = "  - { id: last, write: { connection: to, object: notes, action: create, "
    always += 'idempotency: { key: "z-{{ it.id }}", find_existing: ref }, map: { ref: { value: last } } } }\n'
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), Path(folder) / "s.db")
        try:
            bench.write(tree.text + always)
            bench.world.records["things", "1"] = {"id": "1"}
            faults = chance.randint(0, 4)

            def before(object: str, body: Any) -> Any:
                nonlocal faults
                if faults and chance.random() < 0.4:
                    faults -= 1
                    return chance.choice([Unavailable("down"), Refused("not now")])
                return None

            def after(object: str, body: Any) -> Any:
                nonlocal faults
                if faults and chance.random() < 0.4:
                    faults -= 1
                    return DeliveryUnknown("no answer")
                return None

            bench.world.script, bench.world.after = before, after
            records: list[dict[str, Any]] = [{"id": "1"}]
            for _ in range(20):
                left = chance.randint(1, 12) if chance.random() < 0.6 else 0
                wanted = chance.choice(SEAMS)

                def seam(name: str, wanted: str = wanted) -> None:
                    nonlocal left
                    left -= left > 0 and name == wanted
                    if left == 0 and name == wanted:
                        left = -1
                        raise Killed

                try:
                    bench.run(*records, **({"seams": seam} if left else {}))
                except Killed:
                    pass
                bench.slept += 1000
                if dead := bench.store.records(state="dead"):
                    bench.store.letters.replay(dead, "tester")
                if bench.states() == {"confirmed": 1}:
                    break
            assert bench.states() == {"confirmed": 1}
            done = Counter(body["ref"] for _, _, body in bench.world.writes)
            assert done == Counter([*tree.wanted, "last"])
            (row,) = bench.store.records(flow="work")
            order = [one.path for one in bench.store.steps.of([row.seq])[row.seq] if one.kind == "write"]
            assert [name for name in order if name in done] == [*tree.wanted, "last"], "in the order of the file"
        finally:
            bench.store.close()
