"""Programs as reverse mode runs them: every state a pair goes through stays in a register of its own."""

from __future__ import annotations

from dataclasses import replace

from ntk_fast.lower.program import ABSENT, WHOLE, Instruction, Program


def reversible(program: Program) -> Program | None:
    """Return the same program with maps in instructions of their own, none of which writes to a register twice.

    None where a map is no fold: its derivatives by a row's variance are known by differences only (`differentiate`).
    """
    if program.profile is not None or any(part.kind != "fold" for part in program.maps):
        return None
    register = {0: 0}
    instructions: list[Instruction] = []
    for step in program.instructions:
        sources = tuple(register[k] for k in step.sources)
        is_only_map = step.shares == (WHOLE,) and step.bias == ABSENT and not step.adds_own
        if step.map != ABSENT and not is_only_map:
            instructions.append(Instruction(len(instructions) + 1, sources, (WHOLE,), map=step.map))
            sources, step = (len(instructions),), replace(step, map=ABSENT)
        instructions.append(replace(step, destination=len(instructions) + 1, sources=sources))
        register[step.destination] = len(instructions)
    return replace(program, instructions=tuple(instructions), n_registers=len(instructions) + 1)
