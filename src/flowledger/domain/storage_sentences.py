"""Sentences on why a storage or a ledger failed, and what to do; a table as in ``sentences``."""

FAILURES = """
socks_proxy
{variable}: a SOCKS proxy is not supported; name one that speaks HTTP, or the storage's host in NO_PROXY
{variable}：不支持 SOCKS 代理；请改用 HTTP 代理，或将存储的主机列入 NO_PROXY

storage_away
storage away: {why}
存储暂不可用：{why}

storage_refuses
storage refuses: {why}
存储拒绝：{why}

cannot_store
cannot store {place}: {why}
无法存放 {place}：{why}

cannot_read
cannot read {place}: {why}
无法读取 {place}：{why}

cannot_list
cannot list {place}: {why}
无法列出 {place}：{why}

cannot_remove
cannot remove {place}: {why}
无法删除 {place}：{why}

cannot_sign
cannot sign a link to {place}: {why}
无法生成链接 {place}：{why}

certificate_untrusted
its certificate is not trusted ({error})
其证书不受信任（{error}）

content_differs
{place}: the content differs from what was sent
{place}：内容与发送的不同

not_installed
this storage needs {library}, which is not installed: run scripts/setup --all, or choose another STORAGE_TYPE
此存储需要 {library}，但未安装：请运行 scripts/setup --all，或另选 STORAGE_TYPE

cannot_write
cannot write {place}: {why}
无法写入 {place}：{why}

cannot_write
report {name}: cannot write to {place}: {why}
报告 {name}：无法写入 {place}：{why}

cannot_lock
cannot lock {place}: {why}
无法锁定 {place}：{why}

folder_not_writable
{what} cannot be kept in {folder}: {place} is no folder that this user may write; name another one ({name}), or change its rights
无法写入 {folder}：{place} 不是本用户可写的文件夹；请另选（{name}），或更改其权限

file_not_writable
{what} cannot be written: {file} is a file that this user may not write; make this user its owner, or run as the user who made it
无法写入：本用户不可写文件 {file}；请将其改为本用户所有，或以创建它的用户运行

no_scratch_folder
no folder for scratch files can be written: neither the system's nor {folder} ({error}); name one in TMPDIR, or let this user write OUTPUT_BASE_DIR
没有可写的临时文件夹：系统的与 {folder} 均不可写（{error}）；请用 TMPDIR 指定，或让本用户可写 OUTPUT_BASE_DIR

ledger
the ledger {place} cannot be made or written ({error}): make its directory writable for this user, or set LEDGER_URL to another place
台账 {place} 无法创建或写入（{error}）：请使其目录对本用户可写，或将 LEDGER_URL 设为别处

ledger_busy
the ledger {place}: all {count} connections of this process are busy: use fewer threads
台账 {place}：本进程的 {count} 个连接均被占用：请减少线程

ledger_encoding
the ledger {place} keeps texts as {encoding}, which has not every character: create it anew: {command}
台账 {place} 以 {encoding} 存文字，不能容纳所有字符：请重新创建：{command}

ledger_newer
{place} has schema {schema}, this program knows up to {known}: a newer Flowledger wrote it
{place} 的结构版本为 {schema}，本程序只认识到 {known}：由更新的 Flowledger 写入

ledger_newer_advice
update this one, or restore the backup made before the other was updated
请更新本程序，或恢复更新前的备份

ledger_foreign
{place} is the database of another program: set LEDGER_URL to a place of its own for the ledger
{place} 是其他程序的数据库：请将 LEDGER_URL 设为台账专用的位置

ledger_driver
a ledger in PostgreSQL needs psycopg: scripts/setup --all installs it ({error})
PostgreSQL 台账需要 psycopg：请运行 scripts/setup --all 安装（{error}）

ledger_damaged
the ledger's copy of {part} is damaged ({error}): restore the ledger from a backup, or move it aside and collect again
台账中 {part} 的副本已损坏（{error}）：请从备份恢复台账，或将其移开后重新采集

ledger
the ledger's file {place}: {why}
台账文件 {place}：{why}

ledger
the ledger {place}: {why}
台账 {place}：{why}
"""

ADVICE = """
storage_unavailable
the storage is unavailable for now: try again later
存储暂不可用：请稍后再试

storage_stays_away
if it stays so, check its address, the network and its status page
若持续如此，请检查地址、网络与服务状态页

storage_rights
let this key put, get, list and delete objects in the bucket
请允许此密钥在存储桶中写入、读取、列出与删除对象

storage_bucket
create the bucket or correct {bucket}_BUCKET_NAME, {endpoint}_ENDPOINT
请创建存储桶，或更正 {bucket}_BUCKET_NAME、{endpoint}_ENDPOINT

storage_clock
check the secret key, and set this machine's clock by NTP
请检查密钥，并用 NTP 校准本机时钟

storage_region
correct {vendor}_ENDPOINT (and S3_REGION): the bucket is elsewhere
请更正 {vendor}_ENDPOINT（及 S3_REGION）：存储桶在别处

storage_key_unknown
check {vendor}_ACCESS_KEY_ID: it does not exist on the server, or is disabled
请检查 {vendor}_ACCESS_KEY_ID：服务器上不存在或已停用

storage_key_unknown
check the access key
请检查访问密钥

storage_key_expired
set a new access key: this one has expired
请更换访问密钥：当前密钥已过期

storage_clock
set this machine's clock by NTP: it is more than 15 minutes off
请用 NTP 校准本机时钟：相差超过 15 分钟

storage_account
check the account: it is disabled, often for unpaid bills
请检查账户：已停用，常因欠费

storage_full
make room in the bucket, or raise its quota
请清理存储桶或提高配额

storage_full
make room on the server's disks
请清理服务器磁盘

storage_removed
it was removed, or never stored there
已被删除，或从未存放

storage_other
look the error up in the storage's documentation
请在存储服务的文档中查找此错误

certificate_advice
check the endpoint, or name the file of its authority in AWS_CA_BUNDLE (S3) or REQUESTS_CA_BUNDLE (OSS)
请检查接入点，或在 AWS_CA_BUNDLE（S3）或 REQUESTS_CA_BUNDLE（OSS）中指定 CA 证书文件

aws_profile
AWS_PROFILE names it: mend it, unset the variable, or set S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY
由 AWS_PROFILE 指定：请修正、取消该变量，或设置 S3_ACCESS_KEY_ID 与 S3_SECRET_ACCESS_KEY

aws_files
AWS_CONFIG_FILE or AWS_SHARED_CREDENTIALS_FILE names it: mend it, unset the variable, or set S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY
由 AWS_CONFIG_FILE 或 AWS_SHARED_CREDENTIALS_FILE 指定：请修正、取消该变量，或设置 S3_ACCESS_KEY_ID 与 S3_SECRET_ACCESS_KEY

aws_settings
check the settings S3_… and the variables AWS_… of this machine
请检查本机的 S3_… 设置与 AWS_… 变量

mend_or_unset
mend it, or unset the variable
请修正，或取消该变量

check_space
check that the directory is there, has free space and may be written, then run again
请检查目录存在、有剩余空间且可写，然后再次运行

check_space
check that the disk has space and may be written, then run again
请检查磁盘有空间且可写，然后再次运行

check_space
check free space and permissions and run again
请检查剩余空间与权限，然后再次运行

check_space
check free space of the temporary directory
请检查临时目录的剩余空间

check_space
free some space (TMPDIR names another disk) and run again
请清理空间（可用 TMPDIR 指定另一磁盘）后再次运行

ledger_advice
check that the server runs and can be reached from here, and the host and port of LEDGER_URL
请检查数据库在运行且可达，以及 LEDGER_URL 的主机与端口

ledger_advice
check the user and the password of LEDGER_URL, and the server's pg_hba.conf
请检查 LEDGER_URL 的用户与密码，以及服务器的 pg_hba.conf

ledger_advice
its disk is full
其磁盘已满

ledger_advice
the disk is full
磁盘已满

ledger_advice
the disk is full, or files may not grow so far
磁盘已满，或文件大小受限

ledger_advice
what was held is intact: make room there and run again
已存内容完好：请在该处清理空间后再次运行

ledger_advice
what was held is intact: make room and run again
已存内容完好：请清理空间后再次运行

ledger_advice
what was stored is intact: make room and run again
已存内容完好：请清理空间后再次运行

ledger_advice
it takes no more connections: use fewer workers, or raise its max_connections
连接已满：请减少 worker，或提高 max_connections

ledger_advice
it is starting or stopping: run again in a moment
数据库正在启动或停止：请稍后再试

ledger_advice
the connection was lost
连接已断开

ledger_advice
nothing half-written remains: run again
没有写了一半的内容：请再次运行

ledger_advice
its files are damaged: restore a backup, or collect again into a new database
其文件已损坏：请恢复备份，或在新数据库中重新采集

ledger_advice
this should not happen: keep the database and report the message
这不应发生：请保留数据库并报告此信息

ledger_advice
this should not happen: keep the file and report the message
这不应发生：请保留文件并报告此信息

ledger_advice
a text holds what the database cannot: report the message
有文字无法存入数据库：请报告此信息

ledger_advice
it may only be read (a standby, or set read-only): let LEDGER_URL name the primary server
只可读（备库，或设为只读）：请将 LEDGER_URL 指向主库

ledger_advice
create the database: createdb --encoding UTF8 --template template0 --owner USER DATABASE
请创建数据库：createdb --encoding UTF8 --template template0 --owner USER DATABASE

ledger_advice
create the schema that LEDGER_URL's search_path names
请创建 LEDGER_URL 的 search_path 所指的 schema

ledger_advice
other processes were in the way: run again
受其他进程影响：请再次运行

ledger_advice
the user may not do that: make it the owner of the database, or of a schema of its own
用户没有权限：请使其拥有该数据库或自己的 schema

ledger_advice
the server has no memory left: give it more, or run again later
服务器内存不足：请增加内存，或稍后再试

ledger_advice
an id is longer than an index can take (2,700 bytes): look at what the source sends
有 ID 超出索引上限（2,700 字节）：请查看来源所发内容

ledger_advice
another process keeps it locked: wait until that one has ended, or stop it
被其他进程锁定：请等其结束，或停止它

ledger_advice
another thread keeps it locked: wait until that one has ended
被其他线程锁定：请等其结束

ledger_advice
it took too long or was cancelled: look at what keeps the server busy, and run again
耗时过长或被取消：请查看服务器为何繁忙，然后再次运行

ledger_advice
its disk gave an error: check the server's health and free space, then run again
其磁盘出错：请检查服务器状况与剩余空间，然后再次运行

ledger_advice
the disk gave an error: check its health and free space, then run again
磁盘出错：请检查磁盘状况与剩余空间，然后再次运行

ledger_advice
check the disk's health and free space, then run again
请检查磁盘状况与剩余空间，然后再次运行

ledger_advice
check sslmode and sslrootcert in LEDGER_URL, and the server's TLS
请检查 LEDGER_URL 的 sslmode 与 sslrootcert，以及服务器的 TLS

ledger_advice
check the options in LEDGER_URL
请检查 LEDGER_URL 的选项

ledger_advice
the file is damaged: restore a backup, or move it aside and collect again
文件已损坏：请恢复备份，或将其移开后重新采集

ledger_advice
the file is no SQLite database: check LEDGER_URL, or move the file aside
文件不是 SQLite 数据库：请检查 LEDGER_URL，或将其移开

ledger_advice
it may not be written: make the file and its directory writable for this user
不可写：请使文件及其目录对本用户可写

ledger_advice
it may not be opened: make the file and its directory writable for this user
不可打开：请使文件及其目录对本用户可写

ledger_advice
it cannot be opened: make the file and its directory writable for this user
无法打开：请使文件及其目录对本用户可写

ledger_advice
make the ledger's folder writable for this user, or set LEDGER_URL to another place
请使台账文件夹对本用户可写，或将 LEDGER_URL 设为别处

ledger_advice
something else is in the place of a folder: move it aside, or set LEDGER_URL to another place
文件夹的位置被其他内容占用：请将其移开，或将 LEDGER_URL 设为别处

ledger_advice
too many files are open: raise the limit (ulimit -n)
打开的文件过多：请提高上限（ulimit -n）

ledger_advice
the file system has no locks: set LEDGER_URL to a place on a local disk
文件系统不支持锁：请将 LEDGER_URL 设在本地磁盘
"""
