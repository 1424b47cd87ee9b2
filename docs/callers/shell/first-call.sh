#!/usr/bin/env bash
# A first call through the gateway with curl and openssl.
#
#   first-call.sh TOKEN_ENDPOINT CLIENT_ID KEY.pem PURPOSE URL
#
# The key is PEM on the curve P-256. Prints the answer's body; ends with 1 where the gateway refuses.
set -euo pipefail
endpoint=$1 client=$2 key=$3 purpose=$4 url=$5
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 077

base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
digest() { openssl dgst -sha256 -binary | base64url; }

# The last 64 octets of the public key in DER are x and y.
openssl pkey -in "$key" -pubout -outform DER | tail -c 64 >"$work/point"
x=$(head -c 32 "$work/point" | base64url)
y=$(tail -c 32 "$work/point" | base64url)
jwk="{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"$x\",\"y\":\"$y\"}" # RFC 7638: in this order

# openssl signs in DER, SEQUENCE { r, s }; RFC 7518 3.4 asks for r and s side by side, 32 octets each.
side_by_side() {
    openssl asn1parse -inform DER | sed -n 's/.*INTEGER *:\(-*[0-9A-F]*\)$/\1/p' |
        while read -r number; do
            number=$(printf '%64s' "$number" | tr ' ' '0')
            printf '%b' "$(printf '%s' "${number: -64}" | sed 's/../\\x&/g')"
        done
}

jwt() { # HEADER CLAIMS
    local input
    input="$(printf '%s' "$1" | base64url).$(printf '%s' "$2" | base64url)"
    printf '%s.%s' "$input" "$(printf '%s' "$input" | openssl dgst -sha256 -sign "$key" | side_by_side | base64url)"
}

# RFC 7523: who asks for the token.
assertion() {
    local now
    now=$(date +%s)
    jwt "{\"alg\":\"ES256\",\"kid\":\"$(printf '%s' "$jwk" | digest)\"}" \
        "{\"iss\":\"$client\",\"sub\":\"$client\",\"aud\":\"$endpoint\",\"iat\":$now,\"exp\":$((now + 60)),\"jti\":\"$(openssl rand -hex 16)\"}"
}

# RFC 9449: that the sender holds the key; one proof a request.
proof() { # METHOD TARGET NONCE TOKEN
    local claims
    claims="\"htm\":\"$1\",\"htu\":\"${2%%[?#]*}\",\"iat\":$(date +%s),\"jti\":\"$(openssl rand -hex 16)\""
    [ -z "$3" ] || claims+=",\"nonce\":\"$3\""
    [ -z "$4" ] || claims+=",\"ath\":\"$(printf '%s' "$4" | digest)\""
    jwt "{\"typ\":\"dpop+jwt\",\"alg\":\"ES256\",\"jwk\":$jwk}" "{$claims}"
}

# Secrets go to curl by a file, never among arguments that every user of the machine can read.
ask() { # METHOD TARGET TOKEN [CURL OPTION…]
    local method=$1 target=$2 token=$3 nonce="" status
    shift 3
    while :; do
        {
            printf 'header = "DPoP: %s"\n' "$(proof "$method" "$target" "$nonce" "$token")"
            [ -z "$token" ] || printf 'header = "Authorization: DPoP %s"\nheader = "Sharing-Purpose: %s"\n' "$token" "$purpose"
            [ -n "$token" ] || printf 'data-urlencode = "client_assertion=%s"\n' "$(assertion)"
        } >"$work/request"
        # Nor through a proxy that the environment names.
        status=$(curl --silent --show-error --noproxy '*' --config "$work/request" --dump-header "$work/head" --output "$work/body" \
            --write-out '%{http_code}' --request "$method" "$@" "$target")
        [ "$status" -lt 300 ] && return
        [ -z "$nonce" ] && grep -qi 'use_dpop_nonce' "$work/head" "$work/body" || break
        nonce=$(sed -n 's/^[Dd][Pp]o[Pp]-[Nn]once: *\([^\r]*\)\r*$/\1/p' "$work/head")
        [ -n "$nonce" ] || break
    done
    cat "$work/body" >&2
    exit 1
}

ask POST "$endpoint" "" --data grant_type=client_credentials --data-urlencode "client_id=$client" \
    --data-urlencode client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer
token=$(sed -n 's/.*"access_token" *: *"\([^"]*\)".*/\1/p' "$work/body")
ask GET "$url" "$token"
echo "record $(sed -n 's/^[Ss]haring-[Rr]ecord: *\([^\r]*\)\r*$/\1/p' "$work/head")" >&2
cat "$work/body"
