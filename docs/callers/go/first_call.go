// A first call through the gateway with Go's standard library alone.
//
//	go run first_call.go TOKEN_ENDPOINT CLIENT_ID KEY.pem PURPOSE URL
//
// The key is PKCS#8 PEM on the curve P-256. Prints the answer's body; ends with 1 where the gateway refuses.
package main

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

var key *ecdsa.PrivateKey

// No token goes through a proxy that the environment names.
var gateway = http.Client{Transport: &http.Transport{Proxy: nil}}

var encoding = base64.RawURLEncoding

type jwk struct { // RFC 7638: the members in this order, and nothing else
	Crv string `json:"crv"`
	Kty string `json:"kty"`
	X   string `json:"x"`
	Y   string `json:"y"`
}

func publicJWK() jwk {
	x, y := make([]byte, 32), make([]byte, 32)
	key.X.FillBytes(x)
	key.Y.FillBytes(y)
	return jwk{"P-256", "EC", encoding.EncodeToString(x), encoding.EncodeToString(y)}
}

func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return encoding.EncodeToString(sum[:])
}

func encode(value any) string {
	text, err := json.Marshal(value)
	check(err)
	return encoding.EncodeToString(text)
}

func jwt(header, claims map[string]any) string {
	header["alg"] = "ES256"
	input := encode(header) + "." + encode(claims)
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	check(err)
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return input + "." + encoding.EncodeToString(signature)
}

func once() string {
	octets := make([]byte, 16)
	_, err := rand.Read(octets)
	check(err)
	return encoding.EncodeToString(octets)
}

// RFC 7523: who asks for the token.
func assertion(client, audience string) string {
	now := time.Now().Unix()
	named, err := json.Marshal(publicJWK())
	check(err)
	return jwt(map[string]any{"kid": digest(named)}, map[string]any{
		"iss": client, "sub": client, "aud": audience, "iat": now, "exp": now + 60, "jti": once(),
	})
}

// RFC 9449: that the sender holds the key; one proof a request.
func proof(method, target, nonce, token string) string {
	target, _, _ = strings.Cut(target, "#")
	target, _, _ = strings.Cut(target, "?")
	claims := map[string]any{"htm": method, "htu": target, "iat": time.Now().Unix(), "jti": once()}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	if token != "" {
		claims["ath"] = digest([]byte(token))
	}
	return jwt(map[string]any{"typ": "dpop+jwt", "jwk": publicJWK()}, claims)
}

// The first answer gives a nonce (400 from the token endpoint, 401 from the data plane): the request is made again with it.
func withNonce(make func(nonce string) *http.Request) (http.Header, []byte) {
	nonce := ""
	for {
		answer, err := gateway.Do(make(nonce))
		check(err)
		body, err := io.ReadAll(answer.Body)
		check(err)
		answer.Body.Close()
		if answer.StatusCode < 300 {
			return answer.Header, body
		}
		says := answer.Header.Get("WWW-Authenticate") + string(body)
		given := answer.Header.Get("DPoP-Nonce")
		if nonce != "" || given == "" || !strings.Contains(says, "use_dpop_nonce") {
			fmt.Fprintln(os.Stderr, string(body))
			os.Exit(1)
		}
		nonce = given
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	endpoint, client, purpose, target := os.Args[1], os.Args[2], os.Args[4], os.Args[5]
	text, err := os.ReadFile(os.Args[3])
	check(err)
	block, _ := pem.Decode(text)
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	check(err)
	key = parsed.(*ecdsa.PrivateKey)

	_, granted := withNonce(func(nonce string) *http.Request {
		form := url.Values{
			"grant_type":            {"client_credentials"},
			"client_id":             {client},
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
			"client_assertion":      {assertion(client, endpoint)},
		}
		request, err := http.NewRequest("POST", endpoint, strings.NewReader(form.Encode()))
		check(err)
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("DPoP", proof("POST", endpoint, nonce, ""))
		return request
	})
	var document struct {
		Token string `json:"access_token"`
	}
	check(json.Unmarshal(granted, &document))

	head, body := withNonce(func(nonce string) *http.Request {
		request, err := http.NewRequest("GET", target, nil)
		check(err)
		request.Header.Set("Authorization", "DPoP "+document.Token)
		request.Header.Set("DPoP", proof("GET", target, nonce, document.Token))
		request.Header.Set("Sharing-Purpose", purpose)
		return request
	})
	fmt.Fprintln(os.Stderr, "record", head.Get("Sharing-Record"))
	fmt.Println(string(body))
}
