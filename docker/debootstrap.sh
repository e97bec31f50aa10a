#!/bin/sh
# Creates a base image for the Dockerfile from Debian packages, for machines that can reach a Debian mirror but no image
# registry:   docker/debootstrap.sh larpo-python:bookworm && make images BASE_IMAGE=larpo-python:bookworm
# Run it as root; it needs debootstrap. By default the images start from python:3.11-slim-bookworm.
set -eu

image=${1:?usage: debootstrap.sh IMAGE}
docker=${DOCKER:-docker}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
debootstrap --variant=minbase --include=ca-certificates,python-is-python3,python3,python3-venv bookworm "$folder" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"}
rm -rf "$folder"/var/cache/apt/archives/*.deb "$folder"/var/lib/apt/lists/*
tar -C "$folder" -c . | "$docker" import --change 'CMD ["python3"]' - "$image"
