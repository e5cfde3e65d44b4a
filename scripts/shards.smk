# The teacher's translations and samples of the training text, in several jobs where Snakefile's rules for them have shards.
def distilling(made, options):
    """The command that makes one of them; of an option that comes twice the last value counts."""
    script = f"bash {shlex.quote(SCRIPTS)}/generate_distilled_corpus.sh"
    return words(f"{script} --model teacher/checkpoint_best.pt --data data/data-bin --output {made} {options}")


ASKED = {
    "distilled": distilling("distilled", f"--beam 5 {config['decoding']} {config.get('distilled', '')}"),
    "samples": distilling("samples", f"--sampling --seed 1 {config['decoding']} {config.get('samples', '')}"),
    "seq_inter": distilling("seq_inter", f"--seq-inter {config['decoding']} {config.get('seq_inter', '')}"),
}


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
    input: "done/data", "done/teacher"
    output: touch("done/{made}.{scatteritem}")
    wildcard_constraints: made="|".join(ASKED)
    priority: 1
    params: command=lambda wildcards: ASKED[wildcards.made], share=share
    threads: 1
    shell: "{params.command} {params.share}"
