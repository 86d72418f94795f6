package stomp_test

// The cases that the tests of this package refer to by number, and where they are:
//
//	 1  broker killed between SEND and RECEIPT                 TestKilledBroker
//	 2  broker killed between COMMIT and RECEIPT               TestKilledBroker, TestKilledBeforeTheReceiptArrives
//	 3  cut towards the broker after every byte of a batch     TestCutAtEveryByte, TestCutOnActiveMQ
//	 4  cut from the broker after every byte of a RECEIPT      TestCutAtEveryByte, TestReadCutFrame
//	 5  RECEIPT never arrives                                  TestNoReceipt
//	 6  RECEIPT arrives too late                               TestLateReceipt, TestReceiptOfTheBatchBefore
//	 7  RECEIPT unknown, twice, without id, out of order       TestOddReceipts
//	 8  burst of receipts, broker blocked in writing           TestBurstOfReceipts, TestBrokerThatWritesBeforeItReads
//	 9  ERROR for one message of a window                      TestForbiddenQueue, TestErrorInWindow
//	10  ERROR in a transaction before its COMMIT               TestForbiddenQueue, TestErrorInTransaction, TestErrorBeforeCommit
//	11  ERROR without receipt-id, huge, followed by the end    TestErrorInTransaction, TestErrorInWindow, TestReadHugeBodies
//	12  network silent both ways                               TestSilentNetworkWhileIdle, TestSilentNetworkWhileWaiting
//	13  network silent from the broker only                    TestSilentFromTheBroker
//	14  broker paused and resumed                              TestPausedBroker
//	15  CONNECT answered by silence or garbage                 TestAnswersToConnect, TestReadWhatIsNotSTOMP
//	16  TLS to a plain port and the other way round            TestTLSOnActiveMQ (package broker)
//	17  certificates                                           TestCertificates, TestTLSOnActiveMQ (package broker)
//	18  logins, odd passwords, missing rights                  TestLogin, TestLoginWithBackslash, TestForbiddenQueue
//	19  broker down from the start                             TestConnectToNobody, brokertest "not connected"
//	20  messages survive the broker's death                    TestKilledBroker, TestMessagesInJava
//	21  Artemis needs destination-type                         TestArtemisHeaders, TestAppendSend
//	22  body beyond the broker's limit                         TestBodyBeyondTheBrokersLimit
//	23  header beyond the broker's limit                       TestLargestHeaders, TestCheck
//	24  store full: blocking, failing at once, after a while   TestFullStore
//	28  slow disk                                              TestPausedBroker
//	29  NUL and frames in bodies                               brokertest "text and bytes", TestCheck, FuzzEncode
//	30  odd header values and names                            brokertest "header values", TestMessagesInJava, TestCheck, FuzzEncode
//	31  odd destinations                                       TestCheck; what a job allows is checked in package jobs
//	32  reserved headers                                       TestCheck; the full list is in package jobs
//	37  heart-beats                                            TestHeartbeats, TestHeartbeatsKeepTheConnection
//	39  list of hosts                                          TestHostList
//	45  bytes one by one, large bodies                         TestSplitIntoBytes, brokertest "large body"
//	48  what goes wrong in go-stomp's own connections          regression_test.go
