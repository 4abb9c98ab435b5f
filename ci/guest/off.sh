# Ends the guest at once (sourced). A bare system has no `poweroff`, and not every kernel a SysRq
# trigger; Perl is always there: reboot(2) with LINUX_REBOOT_CMD_POWER_OFF.
poweroff -f 2>/dev/null
perl -e 'syscall(169, 0xfee1dead, 672274793, 0x4321fedc, 0)' 2>/dev/null
echo o >/proc/sysrq-trigger
sleep 60
