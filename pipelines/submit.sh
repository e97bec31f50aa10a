#!/usr/bin/env bash
# Uploads a compiled pipeline as a version, starts a run of that version and waits for its end, with nothing but the kfp
# command and jq. `larpo pipeline upload` and `larpo submit --wait` do the same with better messages.
#
#     pipelines/submit.sh PACKAGE VERSION [name=value ...]
#
# VERSION names the version; continuous integration gives the commit. The values are parameters of the pipeline.
# The environment says the rest:
#     KFP_ENDPOINT    address of the API
#     KFP_TOKEN       its bearer token, where it asks for one
#     KFP_NAMESPACE   the user's namespace, where the installation has more than one
#     PIPELINE        name of the pipeline (larpo); it is created where it is missing
#     EXPERIMENT      name of the experiment (larpo); it is created where it is missing
#     RUN_NAME        name of the run (the pipeline's name and VERSION)
#     TIMEOUT_S       seconds to wait (0: until the run ends)
#     INTERVAL_S      seconds between two looks at the run (30)
#     MOST_MISSED     looks in a row that the server may leave without an answer (20)
# Exit code: 0 the run succeeded, 1 it failed or was cancelled, 2 it was not started or cannot be asked about,
# 3 TIMEOUT_S passed, 130 interrupted. The run goes on after 3 and 130.
set -euo pipefail
shopt -s inherit_errexit

say() { printf 'submit.sh: %s\n' "$*" >&2; }
fail() { say "$@"; exit 2; }
trap 'exit 2' ERR

[ $# -ge 2 ] || fail "usage: pipelines/submit.sh PACKAGE VERSION [name=value ...]"
package=$1 version=$2
shift 2
[ -f "$package" ] || fail "$package: no such file; write it with: larpo compile --output $package"
[ -n "${KFP_ENDPOINT:-}" ] || fail "set KFP_ENDPOINT to the address of the API"
for command in kfp jq; do
    command -v "$command" >/dev/null || fail "$command is not installed"
done
pipeline=${PIPELINE:-larpo} experiment=${EXPERIMENT:-larpo} run_name=${RUN_NAME:-$pipeline $version}
timeout_s=${TIMEOUT_S:-0} interval_s=${INTERVAL_S:-30} most_missed=${MOST_MISSED:-20}

# kfp reads its options from variables of these names, so that the token stands in no list of processes.
if [ -n "${KFP_TOKEN:-}" ]; then
    export KFP_EXISTING_TOKEN=$KFP_TOKEN
fi
export PYTHONWARNINGS=ignore

# kfp prints links above its JSON.
ask() { kfp --output json "$@" | sed -n '/^[[{]/,$p'; }
named() { jq -cn --arg name "$1" '{predicates: [{operation: "EQUALS", key: "display_name", stringValue: $name}]}'; }

content="sha256 $(sha256sum <"$package" | cut -d ' ' -f 1)"

answer=$(ask pipeline list --filter "$(named "$pipeline")")
pipeline_id=$(jq -r '.[0].pipeline_id // empty' <<<"$answer")
if [ -z "$pipeline_id" ]; then
    # It makes a first version as well, which has the pipeline's name.
    answer=$(ask pipeline create --pipeline-name "$pipeline" "$package")
    pipeline_id=$(jq -er .pipeline_id <<<"$answer")
    say "pipeline $pipeline created"
fi

answer=$(ask pipeline list-versions "$pipeline_id" --filter "$(named "$version")")
version_id=$(jq -r '.[0].pipeline_version_id // empty' <<<"$answer")
if [ -z "$version_id" ]; then
    answer=$(ask pipeline create-version --pipeline-id "$pipeline_id" --pipeline-version "$version" \
        --description "$content" "$package")
    version_id=$(jq -er .pipeline_version_id <<<"$answer")
    say "version $version uploaded"
elif [ "$(jq -r '.[0].description' <<<"$answer")" = "$content" ]; then
    say "version $version is there already, with the same content"
else
    fail "version $version of pipeline $pipeline exists with other content; give another name"
fi

# kfp takes 7, true and {} for a number, a truth value and an object, whatever type the parameter is of: text goes in
# quotes.
declared=$(jq -c '(if type == "array" then .[0] else . end).pipeline_spec
    | (.pipeline_spec // .).root.inputDefinitions.parameters // {}' <<<"$answer")
arguments=()
for text in "$@"; do
    name=${text%%=*} value=${text#*=}
    [ "$name" != "$text" ] || fail "'$text' is not of the form name=value"
    type=$(jq -r --arg name "$name" '.[$name].parameterType // empty' <<<"$declared")
    [ -n "$type" ] || fail "the pipeline has no parameter '$name'; it has: $(jq -r 'keys | join(", ")' <<<"$declared")"
    if [ "$type" = STRING ]; then
        value=$(jq -n --arg value "$value" '$value')
    fi
    arguments+=("$name=$value")
done

answer=$(ask run create --experiment-name "$experiment" --run-name "$run_name" --pipeline-id "$pipeline_id" \
    --version "$version_id" -- ${arguments[@]+"${arguments[@]}"})
run_id=$(jq -er .run_id <<<"$answer")
page="${KFP_ENDPOINT%/}/#/runs/details/$run_id"
printf 'run %s started: %s\n' "$run_id" "$page"
SECONDS=0
trap 'say "run $run_id goes on: $page; look at it with: kfp run get $run_id"; exit 130' INT TERM

# `kfp run create --watch` exits with 0 when the run failed, and its wait for a timeout never sees a run that was
# cancelled, so the state is looked at here. A server that is away for some looks is waited for.
state=$(jq -r .state <<<"$answer") last='' missed=0
while :; do
    if [ "$state" != "$last" ]; then
        printf '%s s: run %s\n' "$SECONDS" "$state"
        last=$state
    fi
    case $state in
        SUCCEEDED | SKIPPED) exit 0 ;;
        FAILED | CANCELED) break ;;
    esac
    if [ "$timeout_s" -gt 0 ] && [ "$SECONDS" -ge "$timeout_s" ]; then
        say "run $run_id is ${state:-of unknown state} after $SECONDS s and goes on: $page"
        exit 3
    fi
    sleep "$interval_s" &
    wait $! # so that an interrupt is not held up
    if answer=$(ask run get "$run_id") && state=$(jq -er .state <<<"$answer" 2>/dev/null); then
        missed=0
    else
        missed=$((missed + 1)) state=$last
        say "the run cannot be asked about ($missed in a row)"
        [ "$missed" -lt "$most_missed" ] || fail "run $run_id may go on: $page"
    fi
done

say "run $run_id $state: $page"
jq -r '
    ([.run_details.task_details[]? | select(.state == "FAILED")
      | {name: .display_name,
         message: ([.error.message?, (.state_history // [] | reverse | .[].error.message?)]
                   | map(select(. != null)) | first)}
      | select(.message) | "task \(.name): \(.message)"]
     | if length > 0 then . else null end)
    // [.error.message // empty] | .[]' <<<"$answer" >&2
exit 1
