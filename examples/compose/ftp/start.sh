#!/bin/sh
# Sets the password of the user camera, and serves. FTP_ADDRESS is the address by which cameras reach this machine.
set -eu
printf 'camera:%s\n' "${FTP_PASSWORD:?is not set}" | chpasswd
mkdir -p /var/run/vsftpd/empty
chown camera:camera /photographs
exec vsftpd /etc/vsftpd.conf -opasv_address="${FTP_ADDRESS:?is not set}"
