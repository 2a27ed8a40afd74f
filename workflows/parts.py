"""Parts that the workflows share: containers of the stages and of the operator, and the life cycle of a workflow.

Each container sees the settings and its own users of store and ledger, by environment only, and may write to ``/tmp``
and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from hera.workflows import (
    ConfigMapEnvFrom,
    Container,
    ContainerNode,
    ContainerSet,
    CronWorkflow,
    Parameter,
    Resources,
    RetryStrategy,
    SecretEnvFrom,
    Step,
    Steps,
)
from hera.workflows.models import (
    Backoff,
    Capabilities,
    ConfigMapKeySelector,
    EmptyDirVolumeSource,
    ExecutorConfig,
    IntOrString,
    Metadata,
    PodGC,
    PodSecurityContext,
    Quantity,
    SeccompProfile,
    SecurityContext,
    SemaphoreRef,
    Synchronization,
    TTLStrategy,
    ValueFrom,
    Volume,
    VolumeMount,
    WorkflowMetadata,
    WorkflowTemplateRef,
)

ACCOUNT: Final = "lookout-stage"
"""Whom the pods act for: Argo's executor alone has its token, the containers beside it have none."""
MAILS: Final = {"lookout/mails": "true"}
"""The label of pods in which mail is sent: only these may reach addresses outside."""
MAIL_SECRET: Final = "lookout-mail"  # noqa: S105 - a Secret's name
CHANNELS_SECRET: Final = "lookout-channels"  # noqa: S105 - a Secret's name
"""URLs and secrets of channels beside mail; a deployment without any has no such Secret."""
LIMITS: Final = "lookout-limits"
"""The ConfigMap that says how much may run at once, by semaphore."""
RUN: Final = "--run={{workflow.name}}"
"""The ledger's run has the workflow's name, so that provenance names the workflow."""
HOUR_S: Final = 3600
DAY_S: Final = 24 * HOUR_S

_VERDICT: Final = "/tmp/verdict"  # noqa: S108 - the pod's own volume
_OWN_WORD: Final = "^[0-9a-z-]+: [A-Za-z]+ [(]exit code "
RETRYABLE: Final = (
    'lastRetry.status == "Error"'
    f' || lastRetry.message matches "{_OWN_WORD}(70|75|130|137|143)[)]"'
    f' || !(lastRetry.message matches "{_OWN_WORD}")'
)
"""Exit codes of containers: each is final, but for 75 (unavailable), 70 (a defect in a thread has ended the
process: what it held is free, as after a kill) and for being stopped or killed. What befell the pod, an eviction or a
lost node, is not. The code comes from the message, because Argo knows only that of ``main``, which ends with one of its
own when a container before it failed. A message begins with the container's name, so no picture's name can imitate
it."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """Cores are requested and not limited. Memory is requested as it is used, and limited to what the worst picture
    takes."""

    cpu: float
    usual_mib: int
    most_mib: int


NEEDS: Final = {
    "validate": Need(cpu=0.1, usual_mib=128, most_mib=1792),
    "object-detect": Need(cpu=0.1, usual_mib=192, most_mib=2560),
    "threat-detect": Need(cpu=0.1, usual_mib=128, most_mib=2560),
    "plot": Need(cpu=0.1, usual_mib=128, most_mib=1024),
    "operator": Need(cpu=0.05, usual_mib=64, most_mib=1024),
}
"""Measured, docs/workflows.md says how. Containers of a chain work one after the other, but Kubernetes adds them up."""
PROCESSES: Final = 2
"""Worker processes of a stage on a batch. By default it would be one a core of the node, and its memory with them."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A container: what runs in it, which Secrets it sees, and how much of a node it asks for."""

    name: str
    image: str
    command: tuple[str, ...]
    args: tuple[str, ...] = ()
    secrets: tuple[str, ...]
    need: Need

    def fields(self) -> dict[str, Any]:
        """Return the fields that a container has in any template."""
        return {
            "image": self.image,
            "image_pull_policy": "IfNotPresent",
            "command": list(self.command),
            "args": list(self.args),
            "env_from": [
                ConfigMapEnvFrom(name="lookout-settings"),
                *(SecretEnvFrom(name=name, optional=name == CHANNELS_SECRET or None) for name in self.secrets),
            ],
            "resources": Resources(
                cpu_request=self.need.cpu,
                memory_request=f"{self.need.usual_mib}Mi",
                memory_limit=f"{self.need.most_mib}Mi",
            ),
            "security_context": SecurityContext(
                allow_privilege_escalation=False,
                capabilities=Capabilities(drop=["ALL"]),
                read_only_root_filesystem=True,
                run_as_non_root=True,
                seccomp_profile=SeccompProfile(type="RuntimeDefault"),
            ),
            "termination_message_policy": "FallbackToLogsOnError",
        }


def stage(name: str, *args: str) -> Part:
    """Return the container of a stage, with its own users of store and ledger. Only threat-detect sends mail."""
    return Part(
        name=name,
        image=f"lookout/{name}:dev",
        command=("python", "-m", f"stages.{name.replace('-', '_')}"),
        args=(*args, f"--workers={PROCESSES}"),
        secrets=(
            f"lookout-store-{name}",
            f"lookout-ledger-{name}",
            *((MAIL_SECRET, CHANNELS_SECRET) if name == "threat-detect" else ()),
        ),
        need=NEEDS[name],
    )


def operator(name: str, *args: str, secrets: Sequence[str] = ()) -> Part:
    """Return a container of the command line, ``lookout`` with these arguments."""
    return Part(
        name=name,
        image="lookout/lookout:dev",
        command=("lookout",),
        args=args,
        secrets=("lookout-store-operator", "lookout-ledger", *secrets),
        need=NEEDS["operator"],
    )


def verdict(*args: str) -> Part:
    """Return the last container: ends the run, and says what was found and what failed."""
    return operator("main", "verdict", RUN, *args, f"--to={_VERDICT}")


def chain(name: str, parts: Sequence[Part], **fields: Any) -> ContainerSet:
    """Return one pod whose containers run one after the other, each when the one before it has ended with 0.

    The names begin with the place in the chain, but for ``main``, which is Argo's word for the one that gives outputs:
    Argo's message on a failed pod is that of the first container by name that failed, so this makes it the cause.
    """
    labels = MAILS if any(MAIL_SECRET in part.secrets for part in parts) else None
    # Argo gives a pod the volumes that the set mounts, not those of its containers: so they share one /tmp.
    with ContainerSet(name=name, retry_strategy=retry(), volume_mounts=[_tmp()], labels=labels, **fields) as made:
        before: list[str] = []
        for number, part in enumerate(parts, 1):
            label = part.name if part.name == "main" else f"{number}-{part.name}"
            ContainerNode(name=label, dependencies=before, **part.fields())
            before = [label]
    return made


def single(name: str, part: Part, **fields: Any) -> Container:
    """Return a pod of one container."""
    return Container(name=name, retry_strategy=retry(), volume_mounts=[_tmp()], **part.fields(), **fields)


def _tmp() -> VolumeMount:
    return VolumeMount(name="tmp", mount_path="/tmp")  # noqa: S108 - the pod's own volume


def retry() -> RetryStrategy:
    """Return the retries after 5, 10, 20, 40, 60, 60... s, for about ten minutes: servers are back by then or not
    soon."""
    return RetryStrategy(
        limit=12,
        retry_policy="Always",
        expression=RETRYABLE,
        backoff=Backoff(duration="5", factor=IntOrString(root=2), cap="60"),
    )


def output(name: str, path: str, default: str | None = None) -> Parameter:
    """Return an output parameter that a container writes into a file."""
    return Parameter(name=name, value_from=ValueFrom(path=path, default=default))


def verdict_outputs() -> list[Parameter]:
    """Return the outputs of a verdict, for the node in Argo's pages and for clients that wait for the workflow."""
    return [output(name, f"{_VERDICT}/{name}", "") for name in ("device", "count", "found", "failed")]


def closing(*args: str) -> Steps:
    """Return the exit handler of a workflow with a run: a run that was not ended by its own verdict, because a stage
    failed or somebody stopped the workflow, is ended here. Nothing runs after a success."""
    close = single("close", operator("close", "verdict", RUN, *args))
    with Steps(name="at-exit") as steps:
        Step(name="close", template=close, when="{{workflow.status}} != Succeeded")
    return steps


def limit(semaphore: str) -> Synchronization:
    """Return the lock that waits until fewer run than LIMITS says for this semaphore."""
    return Synchronization(
        semaphores=[SemaphoreRef(config_map_key_ref=ConfigMapKeySelector(name=LIMITS, key=semaphore))]
    )


def life(component: str, description: str, *, deadline_s: int) -> dict[str, Any]:
    """Return the settings of every workflow: its service account, time limits and clean-up.

    Pods that succeeded are deleted at once, after their logs are archived. A workflow that succeeded is deleted after
    an hour and one that failed after three days: its history is in the ledger.
    """
    labels = {"app.kubernetes.io/part-of": "lookout", "app.kubernetes.io/component": component}
    return {
        "name": component,
        "labels": labels,
        "annotations": {"workflows.argoproj.io/description": description},
        "service_account_name": ACCOUNT,
        "automount_service_account_token": False,
        "executor": ExecutorConfig(service_account_name=ACCOUNT),
        "security_context": PodSecurityContext(
            run_as_non_root=True, seccomp_profile=SeccompProfile(type="RuntimeDefault")
        ),
        "active_deadline_seconds": deadline_s,
        "archive_logs": True,
        "pod_gc": PodGC(strategy="OnPodSuccess"),
        "pod_metadata": Metadata(labels=labels),
        "workflow_metadata": WorkflowMetadata(labels=labels),
        "ttl_strategy": TTLStrategy(seconds_after_success=HOUR_S, seconds_after_failure=3 * DAY_S),
        "volumes": [Volume(name="tmp", empty_dir=EmptyDirVolumeSource(size_limit=Quantity(root="1Gi")))],
    }


def by_clock(
    name: str, schedule: str, description: str, template: str, *, start_within_s: int, **fields: Any
) -> CronWorkflow:
    """Return a workflow of this WorkflowTemplate, one at a time. When the controller was away, the last one that was
    missed is made up for, unless it is older than ``start_within_s``."""
    return CronWorkflow(
        name=name,
        labels={"app.kubernetes.io/part-of": "lookout", "app.kubernetes.io/component": name},
        annotations={"workflows.argoproj.io/description": description},
        schedules=[schedule],
        timezone="UTC",
        concurrency_policy="Forbid",
        starting_deadline_seconds=start_within_s,
        successful_jobs_history_limit=3,
        failed_jobs_history_limit=3,
        workflow_template_ref=WorkflowTemplateRef(name=template),
        **fields,
    )
