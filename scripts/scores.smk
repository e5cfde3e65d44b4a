# The rules of Snakefile that measure: scores, a chain of pruned models, a study's diagnosis, risks.


def scoring(name):
    """What evaluate is given besides, for the teacher, a row's runs or pruned.SPARSITY."""
    cost = "--cost --teacher teacher/checkpoint_best.pt" if name in config.get("cost", []) else ""
    return words(" ".join([f"--beam {config['beams']}", config["decoding"], config.get("scoring", ""), cost]))


# Both threads for one scoring at a time: its speeds are part of the table. The report shows FILE.jsonl beside FILE.json.
EVALUATE = (
    "fairseq-kd evaluate --model {params.model} --data {params.data}/data-bin --subset test "
    "--reference raw/test.{TARGET} --name {params.name:q} --seed {params.seed} "
    "--output {output} --save-outputs {output}l {params.options}"
)


rule score_teacher:
    input: "done/teacher", f"done/{TEACHER_DATA}"
    output: "scores/teacher.json"
    params:
        model="teacher/checkpoint_best.pt", data=TEACHER_DATA, name="Teacher", seed=1, options=scoring("teacher")
    threads: 2
    shell: EVALUATE


rule score_student:
    input: "done/{row}.{seed}"
    output: "scores/{row}.{seed}.json"
    params:
        model="students/{row}.{seed}/checkpoint_best.pt",
        data="data",
        name=lambda wildcards: ROWS[wildcards.row]["name"],
        seed="{seed}",
        options=lambda wildcards: scoring(wildcards.row),
    threads: 2
    shell: EVALUATE


if not TEACHER.shares_vocabulary and any("--shortlist shortlist" in options for options in VARIANTS.values()):
    raise WorkflowError("variants: --shortlist shortlist needs a teacher with the student's subwords")


# A folder with a lexical shortlist of the distilled text: all models have the teacher's subwords, so one serves all.
rule shortlist:
    input: "done/teacher", "done/distilled"
    output: touch("done/shortlist")
    threads: 2
    shell:
        "fairseq-kd export --model teacher/checkpoint_best.pt --data data/data-bin --to ctranslate2 "
        "--shortlist distilled/data-bin --output shortlist"


# Again with the options of a variant, under a name that ends with the variant's.
rule score_variant:
    input:
        "done/{run}",
        "scores/{run}.json",
        lambda wildcards: ["done/shortlist"] if "--shortlist shortlist" in VARIANTS[wildcards.variant] else [],
    output: "scores/{run}.{variant}.json"
    params:
        model=lambda wildcards: checkpoint(wildcards.run),
        data=lambda wildcards: TEACHER_DATA if wildcards.run == "teacher" else "data",
        name=lambda wildcards: variant_name(run_name(wildcards.run), wildcards.variant),
        seed=lambda wildcards: wildcards.run.rpartition(".")[2] if "." in wildcards.run else 1,
        options=lambda wildcards: words(f"{scoring('')} {VARIANTS[wildcards.variant]}"),
    threads: 2
    shell: EVALUATE


if PRUNING:
    PRUNED_SEED = seeds(PRUNING["of"])[0]

    rule pruning:
        input: f"done/{PRUNING['of']}.{PRUNED_SEED}"
        output: touch("done/pruning")
        params:
            model=checkpoint(f"{PRUNING['of']}.{PRUNED_SEED}"),
            data=DATA[ROWS[PRUNING["of"]]["data"]],
            sparsities=" ".join(map(str, PRUNING["sparsities"])),
            scheme=PRUNING["scheme"],
            options=training_options(PRUNING["of"]) + " " + words(PRUNING["options"]),
        threads: 1
        shell:
            "bash {SCRIPTS:q}/prune_and_retrain.sh --model {params.model} --data {params.data} --output pruning "
            "--sparsities {params.sparsities:q} --scheme {params.scheme} -- --seed {PRUNED_SEED} {params.options}"

    rule score_pruned:
        input: "done/pruning"
        output: "scores/pruned.{sparsity}.json"
        params:
            model="pruning/{sparsity}/retrained/checkpoint_best.pt",
            data="data",
            name=lambda wildcards: name_of_pruned(wildcards.sparsity),
            seed=PRUNED_SEED,
            options=lambda wildcards: scoring(f"pruned.{wildcards.sparsity}"),
        threads: 2
        shell: EVALUATE


# What a study's points are found by later: the quantities of each one's teacher, text and student.
rule diagnosis:
    input: "done/teacher", f"done/{TEACHER_DATA}"
    output: "scores/diagnosis.json"
    params:
        student=lambda wildcards: words(config["training"] + " " + config["student"]),
        options=lambda wildcards: words(config["decoding"]),
    threads: 2
    shell:
        "fairseq-kd diagnose --teacher teacher/checkpoint_best.pt --data {TEACHER_DATA}/data-bin --subset test "
        "--reference raw/test.{TARGET} --student - --output {output} {params.options} --study "
        "<<<{params.student:q} >diagnosis.log"


RISKS = (
    "fairseq-kd risks --teacher teacher/checkpoint_best.pt --model {params.model} --data data/data-bin --subset test "
    "--output {output} {params.options}"
)


# The teacher against itself: its entropy is what a student's coverage risk cannot fall below.
rule risks_teacher:
    input: "done/teacher"
    output: "scores/teacher.risks.json"
    params: model="teacher/checkpoint_best.pt", options=words(config.get("risks", ""))
    threads: 2
    shell: RISKS


rule risks_student:
    input: "done/{row}.{seed}"
    output: "scores/{row}.{seed}.risks.json"
    params: model="students/{row}.{seed}/checkpoint_best.pt", options=words(config.get("risks", ""))
    threads: 2
    shell: RISKS
