#!/usr/bin/env bash
# Installs nanogrid as a service. Everything is checked or done again each time: run it as often as you like.
set -euo pipefail

readonly OPT=/opt/nanogrid CONFIG=/etc/nanogrid STATE=/var/lib/nanogrid
readonly UNIT=/etc/systemd/system/nanogrid.service
readonly BACK_OFF=$UNIT.d/back-off.conf BACK_OFF_FROM=254
readonly HARDWARE_WATCHDOG=/etc/systemd/system.conf.d/nanogrid-watchdog.conf
readonly COMMAND=/usr/local/bin/nanogrid
readonly ACCOUNT=nanogrid GROUPS_WANTED="dialout spi gpio"
readonly PROGRAM="control drivers firmware hil models examples docs setup.cfg pyproject.toml README.md LICENSE"
SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly SOURCE

usage() {
    cat <<EOF
usage: sudo ./install.sh [--uninstall | --help]

Installs or updates the nano-grid controller from this folder, on Raspberry Pi OS (Bookworm, Trixie) or
Debian 12 or 13, 64 bit:

  $OPT                            the program in a virtual environment of its own
  $COMMAND                  the command
  $CONFIG/site.toml                  your site; an example is put there once, never touched again
  $STATE                        what the service remembers
  $UNIT   the service

and from Debian python3-venv and mosquitto. The service runs as the user "$ACCOUNT". It is not started; one
that already runs is restarted with the new version. On a Raspberry Pi the hardware watchdog is
switched on as well, and a compiler installed for the SPI and GPIO modules.

If something fails, put it right and run this again: until the last step the version before is in use.

  --uninstall   stop the service and remove program, command and unit; keep $CONFIG, $STATE,
                the user and Debian's packages
EOF
}

say() { printf '\n== %s\n' "$*"; }

fail() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}

is_raspberry_pi() { grep -qs 'Raspberry Pi' /proc/device-tree/model; }

is_booted() { [ -d /run/systemd/system ]; }

install_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    say "Debian packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q || fail "apt-get update failed; is the machine on the network?"
    apt-get install -qy --no-install-recommends "${missing[@]}" ||
        fail "apt-get could not install ${missing[*]}"
}

require_machine() {
    command -v apt-get >/dev/null || fail "needs Debian or Raspberry Pi OS (apt-get not found)"
    case $(dpkg --print-architecture) in
    amd64 | arm64) ;;
    *) fail "needs a 64-bit system; this one is $(dpkg --print-architecture)" ;;
    esac
    local part
    for part in $PROGRAM systemd; do
        [ -e "$SOURCE/$part" ] || fail "$SOURCE/$part is missing; run it from a complete copy"
    done
}

require_python() {
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "needs Python 3.11 or later: Debian 12, Raspberry Pi OS Bookworm, or later"
}

make_account() {
    getent passwd "$ACCOUNT" >/dev/null ||
        useradd --system --user-group --home-dir "$STATE" --no-create-home \
            --shell /usr/sbin/nologin "$ACCOUNT"
    local group
    for group in $GROUPS_WANTED; do
        if getent group "$group" >/dev/null; then usermod -aG "$group" "$ACCOUNT"; fi
    done
    install -d -m 0750 -o "$ACCOUNT" -g "$ACCOUNT" "$STATE"
}

# One name for what would be installed: the program's content, the Python, and what pip would take along.
release_name() {
    (
        cd "$SOURCE"
        # shellcheck disable=SC2086
        find $PROGRAM -type f ! -path '*/__pycache__/*' -print0 | LC_ALL=C sort -z |
            xargs -0 sha256sum
        python3 --version
        echo "$1"
    ) | sha256sum | cut -c 1-12
}

# A release is complete when it is marked so; one that is not, is made anew.
make_release() {
    local release=$1 extra=$2
    if [ -e "$release/complete" ]; then
        say "Program: $release is there"
        return
    fi
    say "Program: $release (some minutes on a Raspberry Pi)"
    local other
    for other in "$OPT"/releases/*; do
        if [ ! -e "$other/complete" ]; then rm -rf "$other"; fi
    done
    mkdir -p "$release/program"
    # shellcheck disable=SC2086
    tar -C "$SOURCE" -c --owner=root --group=root --mode=a+rX --exclude=__pycache__ $PROGRAM |
        tar -C "$release/program" -x --no-same-permissions
    python3 -m venv "$release/venv"
    # Everything but the Pi's own modules comes ready made: without a compiler, or with a clear refusal.
    "$release/venv/bin/pip" install -q --only-binary :all: -e "$release/program" ||
        fail "pip could not install the program's packages (see above); run this again when it can"
    if [ -n "$extra" ]; then
        # PYPI=1: lgpio's sources bring its C library along; Debian need not have it.
        PYPI=1 "$release/venv/bin/pip" install -q --prefer-binary -e "$release/program[$extra]" ||
            fail "pip could not install the modules for SPI and GPIO (see above); run this again when it can"
    fi
    sync # the mark must not reach the card before what it stands for
    touch "$release/complete"
}

# The example, with what a service wants: a memory and a socket where the unit lets it have them.
default_site() {
    sed -e '/^\[local\]/,/^\[/ s|^# socket = "" .*|socket = "/run/nanogrid/nanogrid.sock"  # nanogrid status, why, ctl|' \
        -e '/^\[store\]/,/^\[/ s|^# path = "" .*|path = "'"$STATE"'/state.db"   # what survives a restart|' \
        "$SOURCE/examples/site.toml"
}

put_config() {
    install -d -m 0750 -o root -g "$ACCOUNT" "$CONFIG"
    [ -e "$CONFIG/site.toml" ] && return
    install -m 0640 -o root -g "$ACCOUNT" /dev/null "$CONFIG/site.toml.new"
    default_site >"$CONFIG/site.toml.new"
    mv "$CONFIG/site.toml.new" "$CONFIG/site.toml"
}

# Whether systemd can let the pauses between restarts grow.
can_back_off() {
    local version
    version=$(systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
    [ "${version:-0}" -ge "$BACK_OFF_FROM" ]
}

check_config() {
    say "nanogrid check --config $CONFIG/site.toml"
    (cd "$STATE" && runuser -u "$ACCOUNT" -- "$1/venv/bin/nanogrid" check --config "$CONFIG/site.toml") ||
        fail "$CONFIG/site.toml does not suit this version (see above); correct it and run this again"
}

# From here on the new release is in use.
switch_to() {
    local release=$1 other
    ln -sfn "$release" "$OPT/next"
    mv -T "$OPT/next" "$OPT/current"
    ln -sfn "$OPT/current/venv/bin/nanogrid" "$COMMAND"
    install -m 0644 "$SOURCE/systemd/nanogrid.service" "$UNIT"
    if can_back_off; then install -D -m 0644 "$SOURCE/systemd/back-off.conf" "$BACK_OFF"; fi
    if is_raspberry_pi; then
        install -D -m 0644 "$SOURCE/systemd/hardware-watchdog.conf" "$HARDWARE_WATCHDOG"
    fi
    if is_booted; then
        systemctl daemon-reload
        systemctl try-restart nanogrid
    fi
    for other in "$OPT"/releases/*; do
        if [ "$other" != "$release" ]; then rm -rf "$other"; fi
    done
}

what_next() {
    say "Installed."
    if is_booted && systemctl -q is-active nanogrid; then
        echo "The service was running and has been restarted: journalctl -u nanogrid -f"
        return
    fi
    if default_site | cmp -s - "$CONFIG/site.toml"; then
        echo "The service is not started: $CONFIG/site.toml is still the example."
    fi
    cat <<EOF
Next:
  1. sudo nano $CONFIG/site.toml      describe your site; $OPT/current/program/docs/configuration.md
  2. sudo nanogrid check --config $CONFIG/site.toml --probe     asks the devices, writes nothing
  3. sudo systemctl enable --now nanogrid
  4. journalctl -u nanogrid -f        and: sudo nanogrid status
A page to look at: [web] port = 8080 in that file; MQTT and Home Assistant: [mqtt] host = "127.0.0.1".
Step by step: $OPT/current/program/docs/install.md
EOF
    if is_raspberry_pi && ! compgen -G '/dev/spidev*' >/dev/null; then
        echo "SPI is off; an irradiance sensor needs it: sudo raspi-config nonint do_spi 0"
    fi
}

uninstall() {
    if is_booted && [ -e "$UNIT" ]; then systemctl -q disable --now nanogrid; fi
    rm -f "$UNIT" "$BACK_OFF" /etc/systemd/system/multi-user.target.wants/nanogrid.service "$HARDWARE_WATCHDOG"
    rmdir "$UNIT.d" 2>/dev/null || true # unless a drop-in of your own is there
    if [ -L "$COMMAND" ]; then rm -f "$COMMAND"; fi
    rm -rf "$OPT"
    if is_booted; then systemctl daemon-reload; fi
    echo "Removed. Still here: $CONFIG, $STATE, the user $ACCOUNT, mosquitto and Python."
}

install_all() {
    require_machine
    local extra="" release
    install_packages python3 python3-venv mosquitto
    require_python
    if is_raspberry_pi; then
        extra=pi
        say "A Raspberry Pi: spidev, and lgpio from Python 3.13 on, are compiled here"
        install_packages gcc libc6-dev python3-dev swig
    fi
    make_account
    release=$OPT/releases/$(release_name "$extra")
    make_release "$release" "$extra"
    put_config
    check_config "$release"
    switch_to "$release"
    what_next
}

main() {
    local action=install_all
    case "$*" in
    "") ;;
    --uninstall) action=uninstall ;;
    -h | --help)
        usage
        exit 0
        ;;
    *)
        echo "install.sh: unknown option: $* (see --help)" >&2
        exit 2
        ;;
    esac
    [ "$(id -u)" -eq 0 ] || fail "needs root: sudo ./install.sh"
    umask 022
    "$action"
}

main "$@"
