"""A real SLURM of one node on this machine: its own daemons, ports and folder; nothing of the system's is changed.

    python -m tests.slurm.local_slurm FOLDER    starts it and prints the line that leads sbatch and squeue to it

It needs Debian's packages slurm-wlm and munge, and root. There is no accounting database: ``squeue`` knows the state of
a job, ``sacct`` does not.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

COMMANDS = ("slurmctld", "slurmd", "sbatch", "srun", "munged")
CLAIMED = "CPUs=64 RealMemory=512000 Gres=gpu:8"
"""What the node says it has, so that the jobs of a cluster's profile fit, and several run at once."""
CONFIGURATION = """
ClusterName=tests
SlurmctldHost={node}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0,bf_interval=2
ReturnToService=2
KillWait=5
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdSpoolDir={folder}/slurmd
StateSaveLocation={folder}/slurmctld
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SlurmdParameters=config_overrides
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={node} NodeAddr=127.0.0.1 {claimed} State=UNKNOWN
PartitionName=cpu Nodes={node} Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=gpu Nodes={node} MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes={node} MaxTime=INFINITE State=UP PriorityTier=9
"""


def missing() -> str:
    """Why no SLURM can be started here; empty where one can."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    absent = [name for name in COMMANDS if shutil.which(name, path=path) is None]
    if absent:
        return f"no {', '.join(absent)}: install Debian's packages slurm-wlm and munge"
    return "" if os.geteuid() == 0 else "SLURM's daemons need root"


def free_ports(count: int) -> list[int]:
    """Ports that no process of this machine listens at."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class LocalSlurm:
    """The daemons in one folder.

    Args:
        folder: gets configuration, state and logs; munge refuses one that other users may write to.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.variables = {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": f"{folder}/bin:{os.environ['PATH']}:/usr/sbin:/sbin",
        }
        self._wrap_srun()
        for name in ("slurmd", "slurmctld"):
            (folder / name).mkdir(parents=True)
        node = socket.gethostname().split(".")[0]
        text = CONFIGURATION.format(node=node, ports=free_ports(2), folder=folder, claimed=CLAIMED)
        (folder / "slurm.conf").write_text(text)
        (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-7]\n")
        for number in range(8):
            (folder / f"gpu{number}").touch()
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        self.munged = self._munge()

    def _wrap_srun(self) -> None:
        """Snakemake's plugin starts srun within a job without SLURM_CONF."""
        wrapper = self.folder / "bin" / "srun"
        wrapper.parent.mkdir(parents=True)
        wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
        wrapper.chmod(0o755)

    def _munge(self) -> subprocess.Popen:
        words = ["munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket"]
        words += [f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "log", "pid", "seed")]
        with (self.folder / "munged.log").open("wb") as log:
            return subprocess.Popen(words, env=os.environ | self.variables, stdout=log, stderr=log)

    def start(self) -> None:
        """Start the daemons.

        Raises:
            RuntimeError: the node did not become idle within 30 seconds.
        """
        self.start_controller()
        self.run("slurmd")
        for _ in range(150):
            if set(self.run("sinfo", "-h", "-o", "%T", check=False).split()) == {"idle"}:
                return
            time.sleep(0.2)
        logs = [(self.folder / f"{name}.log").read_text()[-2000:] for name in ("slurmctld", "slurmd")]
        raise RuntimeError("SLURM's node did not become idle\n" + "\n".join(logs))

    def run(self, *words: str, check: bool = True) -> str:
        """One of SLURM's commands; its output without the last line break."""
        env = os.environ | self.variables
        return subprocess.run(words, env=env, check=check, stdout=subprocess.PIPE, text=True).stdout.rstrip("\n")

    def start_controller(self) -> None:
        """Start slurmctld with the state that its last run left."""
        self.run("slurmctld")

    def stop_controller(self) -> None:
        """End slurmctld; jobs run on, and commands find nobody to talk to."""
        end(self.folder / "slurmctld.pid")

    def jobs(self, state: str = "") -> dict[str, str]:
        """The comment of each job in a state, such as RUNNING, by its number; by default of all that have not ended."""
        chosen = [f"--states={state}"] if state else []
        lines = self.run("squeue", "-h", "-o", "%i %k", *chosen, check=False).splitlines()
        return dict(line.split(" ", 1) for line in lines)

    def find(self, comment: str, state: str = "RUNNING") -> str:
        """The number of a job in a state whose comment begins so, or nothing."""
        return next((number for number, told in self.jobs(state).items() if told.startswith(comment)), "")

    def preempt(self) -> None:
        """An urgent job takes the node for a moment: all running jobs go back to the queue, and start anew after it."""
        self.run("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wait", "--wrap=true")
        for number in self.jobs("PENDING"):  # SLURM would keep them there for two minutes
            self.run("scontrol", "update", f"JobId={number}", "StartTime=now", check=False)

    def stop(self) -> None:
        """Cancel all jobs and end the daemons."""
        self.run("scancel", "--user=root", check=False)
        for name in ("slurmd", "slurmctld"):
            end(self.folder / f"{name}.pid")
        self.munged.terminate()
        self.munged.wait()


def end(pid_file: Path) -> None:
    """End the daemon that wrote this file, and wait until it has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGTERM)
        for _ in range(100):
            os.kill(pid, 0)
            time.sleep(0.1)


@contextlib.contextmanager
def local_slurm(folder: Path) -> Iterator[LocalSlurm]:
    """A SLURM that ends with the block."""
    slurm = LocalSlurm(folder)
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.stop()


if __name__ == "__main__":
    if missing():
        sys.exit(missing())
    with local_slurm(Path(sys.argv[1]).resolve()) as started:
        print("; ".join(f"export {name}={value}" for name, value in started.variables.items()), flush=True)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        signal.pause()
