#!/bin/sh
# Makes every fixture certificate in this folder anew: ./make-certificates.sh
#
# EC P-256, valid for a hundred years unless the fixture is about dates. All server certificates share server.key, so
# that a server can be told to show another one at any moment. The keys of the authorities are thrown away: nothing
# else can be signed by them, and a run replaces all files together. Needs openssl 1.1.1 or later.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -f ./*.crt ./*.key

from=20200101000000Z
until=21200101000000Z
passphrase=correct-horse

key() { openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null ||
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }

# authority NAME COMMON_NAME
authority() {
  key "$work/$1.key"
  mkdir "$work/$1"
  : > "$work/$1/index.txt"
  cat > "$work/$1/ca.cnf" <<CNF
[ca]
default_ca = authority
[authority]
database = $work/$1/index.txt
new_certs_dir = $work/$1
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
email_in_dn = no
[any]
organizationName = optional
commonName = supplied
CNF
  printf 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n' > "$work/ext"
  openssl req -new -key "$work/$1.key" -subj "/CN=$2" -out "$work/csr" 2>/dev/null
  openssl ca -batch -notext -config "$work/$1/ca.cnf" -selfsign -keyfile "$work/$1.key" -in "$work/csr" \
    -extfile "$work/ext" -startdate $from -enddate $until -out "$1.crt" 2>/dev/null
}

# issue FILE AUTHORITY KEY SUBJECT USAGE SANS [FROM UNTIL]
issue() {
  printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=%s\n' "$5" > "$work/ext"
  [ -z "$6" ] || printf 'subjectAltName=%s\n' "$6" >> "$work/ext"
  openssl req -new -key "$3" -subj "$4" -out "$work/csr" 2>/dev/null
  openssl ca -batch -notext -config "$work/$2/ca.cnf" -cert "$2.crt" -keyfile "$work/$2.key" -in "$work/csr" \
    -extfile "$work/ext" -startdate "${7:-$from}" -enddate "${8:-$until}" -out "$1.crt" 2>/dev/null
}

# server FILE SANS: an ordinary server certificate of the cluster's authority
server() { issue "$1" ca server.key "/CN=kube-apiserver" serverAuth "$2"; }

names=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,DNS:localhost
every=IP:127.0.0.1,IP:127.0.0.2,IP:127.0.0.3,IP:127.0.0.4,IP:127.0.0.5,IP:127.0.0.6,IP:127.0.0.7,IP:127.0.0.8,IP:127.0.0.9,IP:::1

authority ca kubernetes
authority other-ca another-cluster
key server.key

for n in 1 2 3 4 5 6 7 8 9; do
  server "kubeadm-$n" "IP:127.0.0.$n,$names"   # what kubeadm gives each control-plane node
  server "own-ip-$n" "IP:127.0.0.$n"           # own-ip-1 is also "the IP of the seed only"
done
server kubeadm-ip6 "IP:::1,$names"
server own-ip-ip6 "IP:::1"
server every-ip "$every,$names"
server name-kubernetes DNS:kubernetes
server name-kubernetes.default DNS:kubernetes.default
server name-kubernetes.default.svc DNS:kubernetes.default.svc
server name-kubernetes.default.svc.cluster.local DNS:kubernetes.default.svc.cluster.local
server name-localhost DNS:localhost
server name-api.test.example DNS:api.test.example
server wildcard-test.example 'DNS:*.test.example'
server wildcard-default.svc 'DNS:*.default.svc'
server wrong-name DNS:other.example
issue cn-only ca server.key /CN=kubernetes.default.svc serverAuth ''
issue cn-ip-only ca server.key /CN=127.0.0.1 serverAuth ''
issue client-only ca server.key /CN=kube-apiserver clientAuth "$every,$names"
issue expired ca server.key /CN=kube-apiserver serverAuth "$every,$names" $from 20210101000000Z
issue not-yet-valid ca server.key /CN=kube-apiserver serverAuth "$every,$names" 21190101000000Z $until
issue from-other-ca other-ca server.key /CN=kube-apiserver serverAuth "$every,$names"
openssl req -new -x509 -key server.key -subj /CN=kube-apiserver -days 36500 -addext "subjectAltName=$every,$names" \
  -addext keyUsage=critical,digitalSignature -addext extendedKeyUsage=serverAuth -out self-signed.crt 2>/dev/null

# Clients: the user is the common name, its group the organization. client-b's key exists encrypted, too.
for c in a b; do
  key "client-$c.key"
  issue "client-$c" ca "client-$c.key" "/O=system:masters/CN=client-$c" clientAuth ''
done
openssl pkey -in client-b.key -aes-256-cbc -passout "pass:$passphrase" -out client-b-encrypted.key
key client-other.key
issue client-other other-ca client-other.key /O=system:masters/CN=client-other clientAuth ''
