# The shares of what corpora.smk asks the teacher for: its translations and samples.

# What the teacher is asked for, by the folder that gets it.
ASKED = {
    "distilled": distilling("distilled", "--beam 5"),
    "samples": distilling("samples", "--sampling --seed 1"),
    "seq_inter": distilling("seq_inter", "--seq-inter"),
} | {f"corpora/{name}": distil(f"corpora/{name}", words(f"{config['decoding']} {CORPORA[name]}")) for name in CORPORA}


# `--set-scatter decode=4`, as in profiles/slurm/config.yaml: four jobs decode, and a fifth makes the data-bin.
scattergather:
    decode=1,


def shards(made):
    """The marks of the jobs that decode for a rule; none where the rule does it itself."""
    found = scatter.decode(f"done/{made}.{{scatteritem}}")
    return found if len(found) > 1 else []


def decodes_here(made):
    """How many processes of a rule's own decode: one for each thread, or one that finds everything decoded."""
    return lambda wildcards, threads: 1 if shards(made) else threads


def share(wildcards):
    """Snakemake's "1-of-4" as options."""
    number, count = wildcards.scatteritem.split("-of-")
    return f"--shards {count} --shard {int(number) - 1}"


rule shard:
    input: DISTIL_NEEDS
    output: touch("done/{made}.{scatteritem}")
    wildcard_constraints: made="|".join(map(re.escape, ASKED))
    priority: 1
    params: command=lambda wildcards: ASKED[wildcards.made], share=share
    threads: 1
    shell: "{params.command} {params.share}"
