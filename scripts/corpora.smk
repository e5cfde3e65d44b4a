# The rules of Snakefile that make what rows are trained on: the text, the teacher, and the corpora that it distils.


rule raw:
    output: touch("done/raw")
    # Other braces are the command's own, as in awk '{print $1}'; Snakemake leaves alone what a function gives.
    params:
        command=lambda wildcards: words(config["raw"]).replace("{scripts}", shlex.quote(SCRIPTS)).replace(
            "{output}", "raw"
        ),
    shell: "{params.command}"


def prepare(output, train, subwords):
    """Text cut into subwords, and the data-bin in the folder `output`."""
    splits = f"--train {shlex.quote(train)} --valid raw/valid --test raw/test"
    script = f"bash {shlex.quote(SCRIPTS)}/prepare_data.sh"
    return f"{script} --source-lang {SOURCE} --target-lang {TARGET} {splits} {subwords} --output {output}"


def cut_as(folder, dictionaries):
    return f"--spm-model {folder}/spm.model --dictionaries {dictionaries}"


# The student's subwords: its own, or those of a teacher that is there already.
READY_SHARED = bool(TEACHER.model) and TEACHER.shares_vocabulary


rule data:
    input: "done/raw", ["done/teacher"] if READY_SHARED else []
    output: touch("done/data")
    params:
        command=prepare(
            "data", "raw/train", cut_as("teacher", "teacher") if READY_SHARED else f"--vocab-size {config['vocabulary']}"
        )
    threads: 2
    shell: "{params.command}"


# The same text in the teacher's subwords, where they are not the student's.
rule teacher_data:
    input: "done/raw", ["done/teacher"] if TEACHER.model else []
    output: touch("done/teacher_data")
    params:
        command=lambda wildcards: prepare(
            "teacher_data",
            "raw/train",
            cut_as("teacher", "teacher") if TEACHER.model else f"--vocab-size {config.get('teacher_vocabulary')}",
        )
    threads: 2
    shell: "{params.command}"


# Further parallel text, in the student's subwords.
rule text:
    input: "done/data"
    output: touch("done/texts/{text}")
    params:
        command=lambda wildcards: prepare(
            f"texts/{wildcards.text}", TEXTS[wildcards.text], cut_as("data", "data/data-bin")
        )
    threads: 2
    shell: "{params.command}"


if TEACHER.model:
    rule teacher:
        output: touch("done/teacher")
        params:
            model=str(TEACHER.model),
            files="" if TEACHER.outside else (
                f"--dictionaries {shlex.quote(str(TEACHER.dictionaries))} --spm-model {shlex.quote(str(TEACHER.spm))} "
                f"--languages {SOURCE} {TARGET}"
            ),
        shell: "bash {SCRIPTS:q}/take_teacher.sh teacher {params.model:q} {params.files}"

else:
    rule teacher:
        input: f"done/{TEACHER_DATA}"
        output: touch("done/teacher")
        params: options=lambda wildcards: words(config["training"] + " " + config.get("teacher", ""))
        threads: 2
        shell:
            "bash {SCRIPTS:q}/train.sh teacher {TEACHER_DATA}/data-bin --seed 1 "
            "{params.options}"


def distil(output, options):
    """The teacher's translations in the student's subwords, and their data-bin in the folder `output`."""
    command = [f"bash {shlex.quote(SCRIPTS)}/generate_distilled_corpus.sh --model {TEACHER_MODEL} --output {output}"]
    raw = "--input" in options or TEACHER.outside
    if not TEACHER.outside:
        command.append(f"--data {TEACHER_DATA}/data-bin")
        command += [f"--spm-model {TEACHER_DATA}/spm.model"] if raw else []
    if raw or not TEACHER.shares_vocabulary:
        command.append("--student-data data/data-bin --student-spm data/spm.model")
    if TEACHER.outside and "--input" not in options:
        command.append(f"--input raw/train.{SOURCE}")
        command += [f"--reference raw/train.{TARGET}"] if "--seq-inter" in options and "mbr-" not in options else []
    return words(" ".join([*command, options, TEACHER.options]))


def distilling(key, default):
    return distil(key, words(" ".join([default, config["decoding"], config.get(key, "")])))


DISTIL_NEEDS = ["done/data", "done/teacher", *([] if TEACHER.outside else [f"done/{TEACHER_DATA}"])]


include: "shards.smk"


rule distilled:
    input: DISTIL_NEEDS, shards("distilled")
    output: touch("done/distilled")
    priority: 1  # what waits for it should not find the students without it still at work
    params: command=ASKED["distilled"], shards=decodes_here("distilled")
    threads: 2
    shell: "{params.command} --shards {params.shards}"


rule samples:
    input: DISTIL_NEEDS, shards("samples")
    output: touch("done/samples")
    priority: 1
    params: command=ASKED["samples"], shards=decodes_here("samples")
    threads: 2
    shell: "{params.command} --shards {params.shards}"


rule seq_inter:
    input: DISTIL_NEEDS, shards("seq_inter")
    output: touch("done/seq_inter")
    priority: 1
    params: command=ASKED["seq_inter"], shards=decodes_here("seq_inter")
    threads: 2
    shell: "{params.command} --shards {params.shards}"


rule corpus:
    input: DISTIL_NEEDS, lambda wildcards: shards(f"corpora/{wildcards.corpus}")
    output: touch("done/corpora/{corpus}")
    priority: 1
    params:
        command=lambda wildcards: ASKED[f"corpora/{wildcards.corpus}"],
        shards=decodes_here(""),
    threads: 2
    shell: "{params.command} --shards {params.shards}"


rule gold_distilled:
    input: "done/data", "done/distilled"
    output: touch("done/gold_distilled")
    shell: "bash {SCRIPTS:q}/join_databins.sh gold_distilled data/data-bin distilled/data-bin"


rule joined:
    input: lambda wildcards: map(done, wildcards.joined.split("+"))
    output: touch("done/joined/{joined}")
    params: databins=lambda wildcards: [DATA[name] for name in wildcards.joined.split("+")]
    shell: "bash {SCRIPTS:q}/join_databins.sh joined/{wildcards.joined} {params.databins}"


rule cache:
    input: "done/teacher", lambda wildcards: done(wildcards.data)
    output: touch("done/{data}.cache")
    priority: 1
    params:
        databin=lambda wildcards: DATA[wildcards.data],
        options=lambda wildcards: words(f"{CACHES[wildcards.data]} {TEACHER.options}"),
    threads: 2
    shell:
        "fairseq-kd cache --model teacher/checkpoint_best.pt --teacher-data data/data-bin --data {params.databin} "
        "--subset train --output caches/{wildcards.data} {params.options}"
