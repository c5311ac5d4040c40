"""Sentences on why a run failed at its source, or in its process, and what to do; a table as in ``sentences``.

Errors join them by semicolons: where a whole is in no table, each part is looked up.
"""

FAILURES = """
garbled
{place} answered {status} with {kind} instead of JSON: {words}; check whether a proxy or a login page answers in place of Dify
{place} 以 {status} 给出的不是 JSON：{words}；请检查是否由代理或登录页代替 Dify 应答

garbled
{place} answered {status} without the fields of its data ({fields}): {words}
{place} 以 {status} 应答但缺少数据字段（{fields}）：{words}

garbled
{place}: an answer without data ({status}): {words}
{place}：应答没有数据（{status}）：{words}

garbled
{place}: the answer breaks the rules of HTTP ({error})
{place}：应答不合 HTTP 规则（{error}）

garbled
{place}: the answer is about another run, {run}
{place}：应答的是另一次运行 {run}

garbled
{place}: the answer holds no list of rows
{place}：应答中没有记录列表

garbled
{place}: the answer holds no total
{place}：应答中没有总数

garbled
{place}: the answer is no run detail
{place}：应答不是运行详情

perhaps_proxy
is a proxy answering in Dify's place?
是否由代理代替 Dify 应答？

row_without_id
app {app}: a log row has no id or no time: {words}
应用 {app}：日志记录缺少 ID 或时间：{words}

row_without_id
app {app}: a workflow run has no id or no time: {words}
应用 {app}：运行缺少 ID 或时间：{words}

row_without_id
a conversation has no id or no time: {words}
会话缺少 ID 或时间：{words}

row_without_id
a message has no id or no time: {words}
消息缺少 ID 或时间：{words}

conversations_refused
app {app}: up to Dify 1.9.1 only conversations lead to a chatflow's runs, and the console account may not read them: make it an editor of the workspace
应用 {app}：Dify 1.9.1 及更早版本中，只有会话能指向对话流的运行，而控制台账户无权读取会话：请将其设为工作空间的编辑者

too_large
{place}: an answer of more than {bytes} bytes was cut off (DIFY_MAX_ANSWER_MB)
{place}：应答超过 {bytes} 字节，已截断（DIFY_MAX_ANSWER_MB）

redirected
{place}: redirected more than {count} times
{place}：重定向超过 {count} 次

redirected
{place}: a redirect ({status}) without an address
{place}：重定向（{status}）没有给出地址

redirected
{place} redirects to {address}; the keys are not sent there: if that is your Dify, put its address into DIFY_BASE_URL
{place} 重定向到 {address}；密钥不会发往该处：若那是您的 Dify，请将其地址填入 DIFY_BASE_URL

name_unknown
{place}: this name cannot be resolved; check DIFY_BASE_URL and the name server
{place}：无法解析此域名；请检查 DIFY_BASE_URL 与 DNS

no_connection
{place}: no connection within {seconds} s; check network, firewall and port
{place}：{seconds} 秒内未能连接；请检查网络、防火墙与端口

no_connection
{place}: no connection ({error}); check that Dify runs and that DIFY_BASE_URL names its address and port
{place}：无法连接（{error}）；请检查 Dify 是否在运行、DIFY_BASE_URL 的地址与端口是否正确

no_secure_connection
{place}: no secure connection ({error}); check whether the port speaks https
{place}：无法建立安全连接（{error}）；请检查该端口是否使用 https

proxy_refuses
{place}: the proxy {proxy} refuses the connection and requires a password; check {variable}, or name the host in NO_PROXY
{place}：代理 {proxy} 拒绝连接并要求密码；请检查 {variable}，或将主机列入 NO_PROXY

proxy_refuses
{place}: the proxy {proxy} refuses the connection; check {variable}, or name the host in NO_PROXY
{place}：代理 {proxy} 拒绝连接；请检查 {variable}，或将主机列入 NO_PROXY

connection_failed
{place}: the connection failed ({error})
{place}：连接失败（{error}）

bad_address
DIFY_BASE_URL: {address} is not an address that requests can be sent to
DIFY_BASE_URL：{address} 不是可以发送请求的地址

bad_address
DIFY_BASE_URL: {why}, such as https://dify.example.com
DIFY_BASE_URL：{why}，例如 https://dify.example.com

certificate_untrusted
DIFY_CA_BUNDLE: the certificate of {place} is not trusted ({error}); name the file of the authority that signed it
DIFY_CA_BUNDLE：{place} 的证书不受信任（{error}）；请指定签发它的 CA 证书文件

bad_proxy
{variable}: not the address of a proxy that can be used
{variable}：不是可用的代理地址

socks_proxy
{variable}: a SOCKS proxy is not supported (the package PySocks is not installed); name one that speaks HTTP, or the host in NO_PROXY
{variable}：不支持 SOCKS 代理（未安装 PySocks）；请改用 HTTP 代理，或将主机列入 NO_PROXY

bad_key
the {name} header would hold a line break or a character outside ASCII: copy the key anew
请求头 {name} 会含换行或非 ASCII 字符：请重新复制密钥

key_refused
app {app}: its API key (DIFY_API_TOKEN) was refused by {host}: {why}; make a key in Dify under the app's API access, it begins with app-
应用 {app}：API 密钥（DIFY_API_TOKEN）被 {host} 拒绝：{why}；请在 Dify 该应用的“访问 API”中新建密钥，以 app- 开头

app_without_runs
the key opens {title}, which is of the kind {mode}: such apps have no workflow runs; give the key and the id of a workflow or a chatflow
密钥对应 {title}，其类型为 {mode}：此类应用没有工作流运行；请改用工作流或对话流的密钥与 ID

other_app
the key opens {title}, whose id is {id}, not {app}: set DIFY_APP_ID to the part after /app/ in the app's address in Dify; flowledger history move-app moves runs that were filed under a wrong id
密钥对应 {title}，其 ID 为 {id}，而非 {app}：请将 DIFY_APP_ID 设为该应用在 Dify 地址中 /app/ 之后的部分；归到错误 ID 名下的运行可用 flowledger history move-app 移动

several_apps
{count} apps are called {title}: name the app's id (--app-id)
有 {count} 个应用名为 {title}：请给出应用 ID（--app-id）

console_too_old
app {app} is a chatflow, and the console of Dify {release} lists debugging runs only: {first} is the first release whose console lists them
应用 {app} 是对话流，而 Dify {release} 的控制台只列出调试运行：自 {first} 起才列出全部

console_needed
app {app} is a chatflow, whose runs only the console lists: set DIFY_CONSOLE_EMAIL and DIFY_CONSOLE_PASSWORD (or DIFY_ADMIN_API_KEY and DIFY_WORKSPACE_ID)
应用 {app} 是对话流，只有控制台列出其运行：请设置 DIFY_CONSOLE_EMAIL 与 DIFY_CONSOLE_PASSWORD（或 DIFY_ADMIN_API_KEY 与 DIFY_WORKSPACE_ID）

token_alone
{host}: Dify {release} and newer do not accept a console token alone; set DIFY_CONSOLE_EMAIL and DIFY_CONSOLE_PASSWORD, or DIFY_ADMIN_API_KEY and DIFY_WORKSPACE_ID
{host}：Dify {release} 及更新版本不接受单独的控制台令牌；请设置 DIFY_CONSOLE_EMAIL 与 DIFY_CONSOLE_PASSWORD，或 DIFY_ADMIN_API_KEY 与 DIFY_WORKSPACE_ID

login_locked
{host} has locked the console login of {email} for 24 hours after too many wrong passwords; no further try is made. Wait, or let an administrator unlock it or set DIFY_ADMIN_API_KEY and DIFY_WORKSPACE_ID; then check DIFY_CONSOLE_PASSWORD
{host} 因密码错误次数过多，已将 {email} 的控制台登录锁定 24 小时；不再尝试。请等待或由管理员解锁，或设置 DIFY_ADMIN_API_KEY 与 DIFY_WORKSPACE_ID；然后检查 DIFY_CONSOLE_PASSWORD

login_refused
{host}: the console login of {email} was refused: check DIFY_CONSOLE_EMAIL and DIFY_CONSOLE_PASSWORD by logging in with a browser; no second try is made ({why})
{host}：{email} 的控制台登录被拒绝：请在浏览器中登录以核对 DIFY_CONSOLE_EMAIL 与 DIFY_CONSOLE_PASSWORD；不再尝试第二次（{why}）

admin_key_refused
{host}: the admin API key was refused: check DIFY_ADMIN_API_KEY and DIFY_WORKSPACE_ID, and that the server runs Dify 1.11.0 or newer with ADMIN_API_KEY_ENABLE=true ({why})
{host}：管理密钥被拒绝：请检查 DIFY_ADMIN_API_KEY 与 DIFY_WORKSPACE_ID，以及服务器是否为 Dify 1.11.0 或更新且 ADMIN_API_KEY_ENABLE=true（{why}）

token_refused
{host}: the console token was refused or has expired: renew DIFY_CONSOLE_TOKEN ({why})
{host}：控制台令牌被拒绝或已过期：请更新 DIFY_CONSOLE_TOKEN（{why}）

settings
settings need attention:
配置需要处理：

process_exited
Process exited with status code: {status}. {words}
进程退出，状态码 {status}。{words}

process_exited
Flow run infrastructure exited with non-zero status code {status}.
运行进程以非零状态码 {status} 退出。

process_ended
Execution was cancelled by the runtime environment.
执行被运行环境取消。

process_ended
Execution was aborted by an interrupt signal.
执行被中断信号终止。

process_ended
Execution was aborted by a termination signal.
执行被终止信号结束。

process_ended
Execution was aborted by Python system exit call.
执行因程序退出而终止。

process_ended
Flow run was cancelled.
运行被取消。

process_ended
Flow run was cancelled successfully.
运行已取消。

process_ended
Flow run was cancelled before execution started.
运行在开始前被取消。

window_not_begun
the window {window} has not begun yet (it is {time})
窗口 {window} 尚未开始（现在是 {time}）

unknown_app
unknown app {app}: {why}
未知应用 {app}：{why}

run_again
run again
请再次运行

run_again
try again
请重试
bad_window
after ({after}) lies behind before ({before}): swap them
after（{after}）晚于 before（{before}）：请对调

bad_window
a window lies between 1970 and 9999, not {after} to {before}
时间窗口须在 1970 至 9999 年之间，而非 {after} 至 {before}

bad_window
days lie between {first} and {last}, not {after} to {before}
日期须在 {first} 与 {last} 之间，而非 {after} 至 {before}

bad_window
cannot read the time {time}: write ISO 8601, such as 2026-11-21T00:00:00+08:00 or 2026-11-21
无法识别时间 {time}：请按 ISO 8601 书写，例如 2026-11-21T00:00:00+08:00 或 2026-11-21

bad_window
after ({after}) lies in the future: nothing has happened yet
after（{after}）在未来：尚未发生任何运行

bad_zone
unknown time zone {zone}: use an IANA name such as Asia/Shanghai, America/New_York or UTC
未知时区 {zone}：请用 IANA 名称，例如 Asia/Shanghai、America/New_York 或 UTC

bad_period
unknown period {period}: one of {periods}
未知周期 {period}：可用 {periods}

bad_period
the period {period} is not one of a calendar: one of {periods}
周期 {period} 不是日历周期：可用 {periods}

bad_period
period custom needs after (and may have before)
周期 custom 需要 after（可另加 before）

bad_period
period {period} has its own bounds: leave after and before out, or use custom
周期 {period} 自有起止：请去掉 after 与 before，或改用 custom

bad_format
unknown report format {format}: one or more of {formats}
未知报告格式 {format}：可用 {formats}（一种或多种）

bad_format
no report format: one or more of {formats}
没有报告格式：可用 {formats}（一种或多种）

bad_status
unknown status {status}: one of {statuses}
未知状态 {status}：可用 {statuses}

bad_folder
the folder for reports (--output-dir, output_dir) {words}
报告文件夹（--output-dir、output_dir）{words}

other_app
the key opens {title}
密钥对应 {title}

password_refused_before
{server} has refused this console password of {email} at {time}: no process tries the password again until the setting changes
{server} 已于 {time} 拒绝 {email} 的这个控制台密码：设置更改之前任何进程都不再尝试

password_refused_before
no process tries the password again until the setting changes
设置更改之前任何进程都不再尝试此密码

log_in_again
where it was put right in Dify instead: flowledger doctor --log-in-again
若已在 Dify 中改正：flowledger doctor --log-in-again

older_than
older than {count} days
早于 {count} 天

more_runs_than
more than {count} runs
多于 {count} 次运行

more_mb_than
more than {count} MB
超过 {count} MB

not_a_member
{host}: the console account {email} is no member of the workspace {workspace} (DIFY_WORKSPACE_ID), but of {others}
{host}：控制台账号 {email} 不是工作区 {workspace}（DIFY_WORKSPACE_ID）的成员，其所在工作区：{others}
"""
