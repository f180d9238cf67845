# shellcheck shell=bash disable=SC2154 # the variables are scripts/lib/install.sh's
# What scripts/lib/install.sh does on macOS only; sourced before it.

make_macos_user() {
    if dscl . -read /Users/zisk >/dev/null 2>&1; then return; fi
    local id=300
    while dscl . -list /Users UniqueID | grep -q " $id\$" || dscl . -list /Groups PrimaryGroupID | grep -q " $id\$"; do id=$((id + 1)); done
    dscl . -create /Groups/zisk PrimaryGroupID "$id"
    dscl . -create /Users/zisk UniqueID "$id"
    dscl . -create /Users/zisk PrimaryGroupID "$id"
    dscl . -create /Users/zisk NFSHomeDirectory /var/empty
    dscl . -create /Users/zisk UserShell /usr/bin/false
    dscl . -create /Users/zisk RealName "$user_note"
    say "made user zisk"
}

launchd_plist() {
    cat <<END
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
    <key>Label</key><string>com.zisk.$component</string>
    <key>ProgramArguments</key>
    <array>
        <string>/usr/local/bin/$name</string>
        <string>--config</string>
        <string>/etc/zisk/$component.toml</string>
    </array>
    <key>UserName</key><string>zisk</string>
    <key>GroupName</key><string>zisk</string>
    <key>WorkingDirectory</key><string>/var/lib/zisk</string>
    <key>EnvironmentVariables</key>
    <dict><key>HOME</key><string>/var/lib/zisk</string></dict>
    <key>Umask</key><integer>23</integer>
    <key>RunAtLoad</key><true/>
    <key>KeepAlive</key>
    <dict><key>SuccessfulExit</key><false/></dict>
    <key>ThrottleInterval</key><integer>5</integer>
    <key>ExitTimeOut</key><integer>45</integer>
    <key>StandardOutPath</key><string>/var/log/zisk/$name-server.log</string>
    <key>StandardErrorPath</key><string>/var/log/zisk/$name-server.log</string>
</dict>
</plist>
END
}

install_launchd() {
    folder root:0 755 "$root/var/log"
    folder zisk:zisk 750 "$logs"
    launchd_plist | put_text root:wheel 644 "$plist"
    # Ten files of 10 MB. Not compressed: the service goes on writing to the file it has open until it is next started.
    printf '/var/log/zisk/%s-server.log zisk:zisk 640 10 10240 * N\n' "$name" | put_text root:wheel 644 "$rotation"
    if [ -n "$root" ]; then return; fi
    if $changed; then launchctl bootout "system/com.zisk.$component" 2>/dev/null || true; fi
    if ! $enable; then launchctl disable "system/com.zisk.$component"; else launchctl enable "system/com.zisk.$component"; fi
    if $start; then launchctl print "system/com.zisk.$component" >/dev/null 2>&1 || launchctl bootstrap system "$plist"; fi
    say "its log: /var/log/zisk/$name-server.log"
}
