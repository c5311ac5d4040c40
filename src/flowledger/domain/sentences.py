"""Sentences on what is missing, not proved, or worth a note.

A table of lines: a code, its English, its Chinese.  Places in braces hold values; a place called ``why`` holds
another sentence, or words of somebody else.
"""

REASONS = """
complete
complete
完整

complete_by_console
complete by the console's counts around the window
按控制台在窗口前后的计数，完整

counts_agree
as many different rows as the source counts
不同记录数与来源总数一致

counts_agree
distinct == total
不同记录数与来源总数一致

counts_differ
the source counts {total} rows and {count} different ones were seen, after {rounds} rounds of reading what differed
来源计数 {total} 条，读到 {count} 条不同记录，已重读差异部分 {rounds} 轮

second_too_full
second {second} holds more rows than a page shows at once
{second} 这一秒的记录超过一页

seconds_too_full
several seconds hold more rows than the source would show: its totals are wrong
多个秒内的记录都超过来源能显示的数量：来源的总数有误

none_given
the source counts {total} rows in {window} and gives none
来源在 {window} 计数 {total} 条却未给出

console_counts_differ
the console counts {total} runs and {count} were seen
控制台计数 {total} 次运行，读到 {count} 次

no_quiet_stretch
no quiet stretch of {seconds} s before the window to count from
窗口之前没有 {seconds} 秒的空闲段可供计数

console_counts_nothing
the console counts no runs, or counts that contradict themselves, so nothing can be compared
控制台不给计数或计数自相矛盾，无从比较

endless_list
the list does not end: {pages} pages were read
列表没有尽头：已读 {pages} 页

repeated_page
the list repeats a page instead of going on
列表重复同一页而不前进

far_more_pages
the source answered with far more pages than it counted rows for at first, for {window}
来源给出的页数远超最初计数（{window}）

rows_moved
rows kept changing
读取期间记录一直在变化

complete_by_messages
complete by the messages of {count} conversations
按 {count} 个会话的消息，完整

conversations_changed
conversations came or went while they were listed
列出会话期间有会话增减

conversations_changed
conversations moved while they were listed
列出会话期间会话顺序变动

conversation_counts_differ
a conversation counts {total} messages and {read} were read
某会话计数 {total} 条消息，读到 {read} 条

conversation_second_too_full
a second of a conversation holds more messages than a page shows at once
某会话一秒内的消息超过一页

conversation_time_wrong
a conversation has messages newer than its last change
某会话有晚于其最后变更的消息

message_without_run
a message of the last minute has no run yet
最近一分钟内有消息尚无运行

not_read
not read yet
尚未读取

not_asked
not asked for
未要求读取

left_out
left out of this reading
本次读取略过

execution_open
the execution has not ended yet
执行尚未结束

no_nodes_recorded
the recording program tells of no nodes
记录程序没有提供节点

no_console
no console access
没有控制台权限

console_locked
console login locked
控制台登录被锁定

console_refused
console login refused
控制台登录被拒绝

console_silent
console login unanswered
控制台登录无响应

nodes_incomplete
node executions not complete yet
节点执行记录尚不完整

run_deleted
the source has deleted the run and has only its log row
来源已删除该运行，只剩日志行

run_unknown
app {app}, run {run}: the source no longer knows the run
来源已不存在该运行

run_unknown
the source no longer knows the run
来源已不存在该运行

unreadable
its data cannot be read ({error})
数据无法读取（{error}）

console_app_unknown
the console has no app {app}: set DIFY_APP_ID to the part after /app/ in the app's address
控制台中没有应用 {app}：请将 DIFY_APP_ID 设为应用地址中 /app/ 之后的部分
console_elsewhere
the console account looks at the workspace {workspace}, which has no app {app} (its other workspaces: {others}): switch it to the app's workspace in Dify, or use an account of its own that is in no other workspace
控制台账号当前位于工作区 {workspace}，其中没有应用 {app}（该账号的其他工作区：{others}）：请在 Dify 中将其切换到该应用所在的工作区，或改用只在该工作区中的专用账号
admin_key_elsewhere
the workspace of the admin key has no app {app}: set DIFY_WORKSPACE_ID to the id of the app's workspace
管理员密钥的工作区中没有应用 {app}：请将 DIFY_WORKSPACE_ID 设为该应用所在工作区的 ID

server_error
{place}: the server cannot answer now ({status}): {words}
{place}：服务器暂时无法应答（{status}）：{words}

refused
{place}: refused ({status}): {words}
{place}：被拒绝（{status}）：{words}

credentials_refused
{place}: the credentials were refused (401): {words}
{place}：凭据被拒绝（401）：{words}

timeout
{place}: no complete answer in time ({connect} s to connect, {deadline} s in all); the server is overloaded or hangs (DIFY_REQUEST_DEADLINE_S)
{place}：未能按时得到完整应答（连接 {connect} 秒，共 {deadline} 秒）；服务器过载或无响应（DIFY_REQUEST_DEADLINE_S）

cut_short
{place}: the connection broke before the answer was complete
{place}：应答未完，连接已断开

filter_note
only runs with {filter}
仅含 {filter} 的运行

settled_note
ends at {end}, before which all had settled by the source's clock
截止 {end}：按来源时钟，此前的记录均已稳定

keyword_note
{count} runs are left out because inputs and outputs, where the keyword may be, are missing
{count} 次运行因缺少可能含关键字的输入输出而未列入

chatflow_filter_note
a chatflow's run list takes no filters: filtered by Flowledger
对话流的运行列表不支持筛选：由 Flowledger 筛选

stored_locally_note
kept on this machine until the storage takes it; the next run uploads it: {why}
暂存本机，存储恢复后由下一次运行上传：{why}

cancelled
the run was cancelled: {why}
运行已取消：{why}

cancelled
the run was cancelled
运行已取消

no_reason
no reason is known
原因不明

nodes_never_complete
node executions not complete a day after the run
运行结束一天后，节点执行记录仍不完整

read_elsewhere
read under another app
曾在另一应用名下读取

clock_before_end
by the source's clock it was {time}, before the window's end
按来源时钟当时为 {time}，窗口尚未结束

took_too_long
reading did not end within {time}
未能在 {time} 内读完

listed_inside_and_beside
the list showed a run in the window and beside it
列表把同一运行既列在窗口内又列在窗口外

rows_share_runs
the list showed {count} rows of the window, which are {stored} runs
列表在窗口内给出 {count} 条记录，实为 {stored} 次运行

row_at_two_times
the source listed row {row} at two times
来源把记录 {row} 列在两个时间

other_runs_stored
other runs are stored than were listed in {window}
台账中 {window} 的运行与列表所列不同

one_run_shown_twice
{count} log rows show one run
{count} 条日志记录是同一次运行

runs_shown_twice
{count} log rows show runs that other rows show, too
{count} 条日志记录与其他记录是同一些运行

status_filter_note
status {status}: the service API refuses this word, so it is filtered by Flowledger
状态 {status}：服务接口不接受此值，由 Flowledger 筛选

keyword_filter_note
keyword {keyword}: {why}, so it is filtered by Flowledger
关键字 {keyword}：{why}，由 Flowledger 筛选

keyword_with_session
together with a session id the server fails with 500
与会话 ID 同用时服务器报 500 错误

keyword_not_ascii
since 1.11.3 the server does not find text beyond ASCII
自 1.11.3 起服务器查不到 ASCII 以外的文字

keyword_too_long
the server uses only {count} characters
服务器只用前 {count} 个字符

keyword_wildcards
older servers take %, _ and \\ for wildcards
旧版服务器把 %、_ 和 \\ 当作通配符

account_filter_note
account {account}: releases differ on unknown accounts, so it is filtered by Flowledger
账户 {account}：各版本对未知账户处理不一，由 Flowledger 筛选

source_ahead
the source's clock is {seconds} s ahead of ours: set both by a time server
来源时钟比本机快 {seconds} 秒：请用时间服务器校准两者

source_behind
the source's clock is {seconds} s behind ours: set both by a time server
来源时钟比本机慢 {seconds} 秒：请用时间服务器校准两者

uploaded_note
{count} files that had waited on this machine were uploaded
暂存本机的 {count} 个文件已上传

worker_died
No heartbeat for {seconds} s: its worker or machine has died.
已有 {seconds} 秒没有心跳：worker 或所在机器已失效。
"""

CONTRADICTIONS = """
rows_outside
answered with rows outside what was asked, as if it ignored the bounds
给出请求范围之外的记录，似乎忽略了边界

wrong_page
answered with page {page}, not {asked}
给出第 {page} 页，而非第 {asked} 页

wrong_limit
answered with a limit of {limit}, not {asked}
给出的每页条数为 {limit}，而非 {asked}

wrong_limit
answered with a limit of {limit} where {asked} was asked
给出的每页条数为 {limit}，而请求的是 {asked}

wrong_order
answered with rows out of the order of their times
给出的记录未按时间排序

wrong_order
answered with rows that are not in the order of their times
给出的记录未按时间排序

row_twice
listed one row twice on a page
在一页中把同一记录列了两次

run_twice
listed one run twice on a page
在一页中把同一运行列了两次

run_twice
listed run {run} twice
把运行 {run} 列了两次

too_many_beside
listed more than {count} runs around the window
在窗口前后列出超过 {count} 次运行

total_contradicts_rows
counted {total} rows and showed {shown} on page {page} of {limit} rows each
计数 {total} 条，却在每页 {limit} 条的第 {page} 页给出 {shown} 条

has_more_contradicts
counted {total} rows and said that more follow page {page} of {limit} rows each
计数 {total} 条，却称每页 {limit} 条的第 {page} 页之后还有

has_more_contradicts
counted {total} rows and said that none follow page {page} of {limit} rows each
计数 {total} 条，却称每页 {limit} 条的第 {page} 页之后没有更多

has_more_contradicts
said that more follow a page of {shown} rows where {limit} were asked
请求 {limit} 条只给出 {shown} 条，却称其后还有

page_too_large
showed {shown} rows on a page of {limit}
在 {limit} 条的一页中给出 {shown} 条

error_beside_rows
answered with an error beside the rows ({words})
在记录之外还给出错误（{words}）

conversation_counts_differ
counts {total} conversations and showed {shown} on page {page}
计数 {total} 个会话，第 {page} 页却给出 {shown} 个

has_more_contradicts
counts {total} conversations and contradicts it after page {page}
计数 {total} 个会话，第 {page} 页之后却自相矛盾

message_twice
listed one message twice on a page
在一页中把同一消息列了两次

conversation_lost
listed a conversation and then did not know it
列出某会话后又称其不存在

row_not_filed
listed a row that cannot be filed ({why})
列出一条无法归入的记录（{why}）

row_without_time
listed run {run} without a usable time
列出运行 {run} 而没有可用的时间

filter_ignored
listed rows that do not fit {filter}, as if it ignored the filter
列出不符合 {filter} 的记录，似乎忽略了筛选
"""
"""What an answer does that cannot be right; one of the next begins it."""

BEGINNINGS = """
-
the source {why}, for {window}
来源{why}（{window}）

-
the source {why}
来源{why}
"""
"""What stands before another sentence, whose code counts."""
