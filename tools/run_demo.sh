#!/usr/bin/env bash
# What `make run` does after building: starts the server, asks it one question, prints the answer with its receipt, and
# keeps serving until Ctrl-C. Usage: tools/run_demo.sh BINARY
set -euo pipefail

binary=${1:?usage: tools/run_demo.sh BINARY}
port=${TRADEWIND_PORT:-8737}
question="What is the capital of France?"
server=
scratch=$(mktemp -d)

stop() {
  [ -z "$server" ] || kill -TERM "$server" 2>/dev/null || true
}
finish() {
  local code=$?
  trap '' INT TERM
  stop
  [ -z "$server" ] || wait "$server" 2>/dev/null || true
  rm -rf "$scratch"
  exit "$code"
}
trap finish EXIT

if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
  echo "port $port is in use; choose another: TRADEWIND_PORT=8738 make run" >&2
  exit 1
fi

# The access log goes beside the data; this terminal is for the answer.
log=$scratch/serve.log
mkfifo "$scratch/stdout"
# In a group of its own, so that Ctrl-C reaches it once, through the trap: a second signal would cut what runs.
setsid "$binary" serve --port "$port" >"$scratch/stdout" 2>"$log" &
server=$!
trap 'stop' INT TERM
if ! read -r line <"$scratch/stdout"; then
  cat "$log" >&2
  wait "$server" || exit $?
fi
url=${line#listening on }
echo "tradewind serves on $url; loading the model ..."

until [ "$(curl -s -o "$scratch/ready" -w '%{http_code}' "$url/readyz")" = 200 ]; do
  if ! kill -0 "$server" 2>/dev/null || grep -q '"failed"\|"no_model"' "$scratch/ready" 2>/dev/null; then
    cat "$scratch/ready" "$log" >&2 2>/dev/null || true
    exit 1
  fi
  sleep 0.1
done

# From here on by the program itself, which has the folder's admin token: the server may want one.
export TRADEWIND_HOST=${url#http://} TRADEWIND_PORT=${url##*:}
TRADEWIND_HOST=${TRADEWIND_HOST%:*}
model=$("$binary" ps --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["servers"][0]["models"][0]["id"])')
printf '\n%s, on this device:\n> %s\n' "$model" "$question"
"$binary" run "$model" "$question" --temp 0 --max-tokens 128 --stats
token=
if ! curl -sf "$url/v1/models" >"$scratch/models"; then
  token=" -H 'Authorization: Bearer TOKEN'" # one that `keys create` printed
fi

# Not by cat, which a Ctrl-C that comes at once would end, and us with it.
read -r -d '' farewell <<END || true
Ask it yourself:
  curl $url/v1/chat/completions -H 'Content-Type: application/json'$token \\
    -d '{"model":"$model","max_tokens":100,"messages":[{"role":"user","content":"Hello!"}]}'
or chat in another terminal: $binary run $model
Serving until Ctrl-C.
END
printf '\n%s\n' "$farewell"
code=0
wait "$server" || code=$?
# A signal interrupts the first wait; the server then drains.
while kill -0 "$server" 2>/dev/null; do
  wait "$server" && code=0 || code=$?
done
server=
exit "$code"
