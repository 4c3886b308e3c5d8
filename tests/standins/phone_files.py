"""What makes a Debian tree look like a phone's to a profiler: users, folders, and Android's own commands.

All values are made up.
"""

import os

SHELL = 2000  # Android's user for adb
PASSWD = f"""\
root:x:0:0:root:/:/bin/sh
shell:x:{SHELL}:{SHELL}:shell:/data/local/tmp:/system/bin/sh
nobody:x:65534:65534::/:/bin/false
"""
GROUP = f"root:x:0:\nshell:x:{SHELL}:\nnogroup:x:65534:\n"
PROPERTIES = """\
ro.product.manufacturer=Edgeopt
ro.product.model=Stand-in
ro.product.device=standin
ro.product.cpu.abi=x86_64
ro.product.cpu.abilist=x86_64
ro.build.version.release=14
ro.build.version.sdk=34
ro.hardware=standin
ro.serialno=STANDIN0001
"""
GETPROP = """\
#!/bin/sh
# getprop [NAME [DEFAULT]]
if [ $# -eq 0 ]; then
  sed 's/^\\([^=]*\\)=\\(.*\\)$/[\\1]: [\\2]/' /system/build.prop
else
  line=$(grep -m 1 "^$1=" /system/build.prop) && echo "${line#*=}" || echo "$2"
fi
"""
DUMPSYS = """\
#!/bin/sh
case "$1" in
battery)
  cat <<END
Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  status: 2
  health: 2
  present: true
  level: 87
  scale: 100
  voltage: 4100
  temperature: 310
  technology: Li-ion
END
  ;;
thermalservice)
  cat <<END
IsStatusOverride: false
Thermal Status: 0
Current temperatures from HAL:
	Temperature{mValue=41.5, mType=0, mName=CPU, mStatus=0}
END
  ;;
*)
  echo "Can't find service: $1" >&2
  exit 1
  ;;
esac
"""


def write(root):
    """Write it into a root filesystem."""
    (root / "etc/passwd").write_text(PASSWD)
    (root / "etc/group").write_text(GROUP)
    for name in ("data/local/tmp", "sdcard", "system/bin"):
        (root / name).mkdir(parents=True, exist_ok=True)
    os.chown(root / "data/local/tmp", SHELL, SHELL)
    (root / "data/local/tmp").chmod(0o771)
    (root / "system/bin/sh").symlink_to("/bin/sh")
    (root / "system/build.prop").write_text(PROPERTIES)
    for name, text in (("getprop", GETPROP), ("dumpsys", DUMPSYS)):
        (root / "system/bin" / name).write_text(text)
        (root / "system/bin" / name).chmod(0o755)
