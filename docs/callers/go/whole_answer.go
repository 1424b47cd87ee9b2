// Reads an answer and knows whether it is whole, with Go's standard library alone.
//
//	go run whole_answer.go URL TOKEN PURPOSE
//
// Prints the answer; ends with 1 where it was cut.
package main

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	request, err := http.NewRequest("GET", os.Args[1], nil)
	check(err)
	request.Header.Set("Authorization", "Bearer "+os.Args[2])
	request.Header.Set("Sharing-Purpose", os.Args[3])
	request.Header.Set("TE", "trailers")
	answer, err := http.DefaultClient.Do(request)
	check(err)
	body, err := io.ReadAll(answer.Body) // an error where the connection or the last chunk breaks off
	check(err)
	if _, announced := answer.Trailer["Content-Digest"]; announced {
		sum := sha256.Sum256(body)
		if answer.Trailer.Get("Content-Digest") != "sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":" {
			check(fmt.Errorf("the answer was cut"))
		}
	}
	os.Stdout.Write(body)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
