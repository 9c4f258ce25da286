"""A plan as text for people: what each value is and why, what changes in each file, and which steps follow."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import unified_diff

from dmvpn_agent.setup.choose import Value
from dmvpn_agent.setup.files import FileStep
from dmvpn_agent.setup.plan import Directory, Group, Plan, Restart, Run, Step, Sysctl, Tunnel, User
from dmvpn_agent.setup.system import File
from dmvpn_agent.view.table import table


def values_text(values: Sequence[tuple[str, Value[object]]]) -> str:
    """Return the values of a node as a table."""
    return table(("", "VALUE", "FROM"), ((name, str(value), value.source) for name, value in values))


def diff_text(plan: Plan, files: Mapping[str, File]) -> str:
    """Return what changes in the files, as a unified diff. A key is never displayed."""
    return "\n".join(line for step in plan.files for line in _diff(step, files.get(step.path)))


def _diff(step: FileStep, before: File | None) -> Iterator[str]:
    if step.content is None:
        yield f"removes {step.path}"
        return
    access = f"mode {step.mode:04o} {step.owner}:{step.group}"
    if before is not None and before.content == step.content:
        yield f"{step.path}: {access}, and not mode {before.mode:04o} {before.owner}:{before.group}"
        return
    if step.shown:
        yield f"{'changes' if before else 'writes'} {step.path}, {access}: {step.shown}"
        return
    old = before.content.decode(errors="replace").splitlines() if before else []
    new = step.content.decode(errors="replace").splitlines()
    name = step.path if before else "/dev/null"
    yield from unified_diff(old, new, name, f"{step.path}  {access}", lineterm="")


def steps_text(plan: Plan) -> list[str]:
    """Return the steps besides the files, in order, a line for each; and what the operator should know."""
    lines = [line for step in plan.steps if (line := _step(step))]
    lines += [f"keeps FRR's line: {line}" for line in plan.kept]
    return [*lines, *(f"note: {note}" for note in plan.notes)]


def _step(step: Step) -> str:
    match step:
        case Directory():
            return f"directory {step.path}, mode {step.mode:04o}"
        case Group():
            return f"group {step.name}"
        case User():
            return f"user {step.name} in the groups {', '.join(step.groups)}"
        case Sysctl():
            return f"kernel: {step.path.replace('/', '.')} = {step.value}"
        case Run():
            return f"run: {' '.join(step.argv)}"
        case Tunnel():
            return "; ".join(f"run: {' '.join(argv)}" for argv in step.commands) or "the agent makes the tunnel"
        case Restart():
            return f"{'enable and start' if step.ours else 'start or restart'} {step.service}"
        case FileStep():
            return ""
