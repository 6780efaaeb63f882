// Command vcsim runs VMware's own vCenter simulator on a loopback port and prints one line of JSON with its address and
// the SHA-256 of its certificate. It ends when its standard input does, so that no test leaves it behind.
package main

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"flag"
	"io"
	"log"
	"net/url"
	"os"

	"github.com/vmware/govmomi/simulator"
)

func main() {
	username := flag.String("username", "reader", "account that may log in")
	password := flag.String("password", "", "its password")
	flag.Parse()

	model := simulator.VPX()
	defer model.Remove()
	if err := model.Create(); err != nil {
		log.Fatal(err)
	}
	model.Service.Listen = &url.URL{Host: "127.0.0.1:0", User: url.UserPassword(*username, *password)}
	model.Service.TLS = new(tls.Config)
	server := model.Service.NewServer()
	defer server.Close()

	digest := sha256.Sum256(server.Certificate().Raw)
	started := map[string]string{"url": "https://" + server.URL.Host, "pin_sha256": hex.EncodeToString(digest[:])}
	if err := json.NewEncoder(os.Stdout).Encode(started); err != nil {
		log.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}
