"""What the terminal shows of an Inference Endpoint: what it will be and cost, and how it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

from hfembed.terminal import results, words

if TYPE_CHECKING:
    from hfembed.deploy.endpoint import EndpointDeployed, EndpointPlan


def show_plan(plan: EndpointPlan, sleep: str) -> None:
    """Print what an endpoint will be, before anything is made."""
    facts = plan.hardware.facts
    memory = f"{facts.gpu_memory:g} GB on the GPU" if facts.gpus else f"{facts.memory:g} GB"
    resting = "runs day and night" if sleep == "never" else f"sleeps after {sleep} without a request, and costs nothing"
    words.print(f"[bold]{escape(plan.repo)}[/]@{plan.revision[:7]} as {escape(plan.owner)}/{escape(plan.name)}")
    words.print(f"  on {escape(plan.hardware.name)}: {escape(facts.title)}, {facts.cpus} processors, {memory}")
    words.print(f"  by {escape(plan.image)}")
    words.print(f"  ${plan.hourly:.3f} for every hour that it is up; it {resting}")


def show_endpoint(done: EndpointDeployed) -> None:
    """Print where an endpoint answers, and what asks it."""
    results.print(f"[bold]{escape(done.repo)}[/] at {escape(str(done.address))}", soft_wrap=True)
    results.print(f"[dim]its page: {escape(done.url)}[/]", soft_wrap=True)
    results.print(
        "\n[dim]from[/] openai [dim]import[/] OpenAI, [dim]with your Hub token as the key:[/]\n"
        f'  OpenAI(base_url="{escape(str(done.address))}", api_key=HF_TOKEN)'
        f'.embeddings.create(model="{escape(done.repo)}", input="your question")',
        soft_wrap=True,
    )
    results.print(
        f"[dim]whether it gives what was tested:[/] hfembed evaluate RUN --endpoint {escape(str(done.address))} "
        "--api-key-env HF_TOKEN",
        soft_wrap=True,
    )
